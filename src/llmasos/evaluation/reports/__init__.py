"""Evaluations as tables, files and pages."""
