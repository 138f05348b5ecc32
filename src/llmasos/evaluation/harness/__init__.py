"""lm-evaluation-harness beside our own tasks: its tasks on our engine, its files read and written."""
