"""Readers: one function for each kind of file, which yields its records."""
