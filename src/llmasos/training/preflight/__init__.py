"""Checks before training: all problems of a recipe in one report, and what the run will need."""
