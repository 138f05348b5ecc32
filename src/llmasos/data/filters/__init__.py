"""Filters: each looks at one row and gives a reason with the measured value and the limit when it rejects it."""
