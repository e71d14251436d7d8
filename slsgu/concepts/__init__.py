"""What can be asked for: a tree of concepts, a request to forget some of them, and prompts."""
