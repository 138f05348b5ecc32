"""Metrics: from the records of a run to numbers, each with what intervals and comparisons need."""
