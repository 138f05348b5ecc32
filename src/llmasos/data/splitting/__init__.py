"""Which split a row goes to, and how often a source is repeated."""
