"""Pictures: where they come from, what each is used for, and how they are read."""
