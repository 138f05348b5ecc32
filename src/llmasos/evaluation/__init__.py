"""Evaluation: tasks, runs of models on them, records of every sample, metrics, statistics and reports."""
