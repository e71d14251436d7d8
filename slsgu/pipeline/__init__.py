"""The whole request, from a task to an outcome, and the folder that keeps it."""
