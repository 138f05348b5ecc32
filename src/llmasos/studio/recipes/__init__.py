"""Recipes as a form and as YAML, which follow each other."""
