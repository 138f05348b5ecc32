"""Data preparation: from raw files to training-ready rows and tokens, with an account of every row."""
