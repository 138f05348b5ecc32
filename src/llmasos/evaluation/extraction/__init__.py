"""Reading answers in what a model wrote, and comparing them with what is right."""
