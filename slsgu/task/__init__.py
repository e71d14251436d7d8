"""What is to be done: a task (model, request, images), and a plan of how."""
