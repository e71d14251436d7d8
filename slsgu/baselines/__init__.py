"""Other ways to unlearn, each a file and a line in the table of methods."""
