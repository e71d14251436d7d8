"""The families of things that the menagerie draws, one file each."""
