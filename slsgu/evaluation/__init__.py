"""What a model answers, before and after an edit: exams, metrics, and the runs that make them."""
