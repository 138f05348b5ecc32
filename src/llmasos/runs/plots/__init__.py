"""Curves of runs: in the terminal, as a page and as a picture."""
