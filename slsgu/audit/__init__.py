"""What can still be found of a concept after an edit."""
