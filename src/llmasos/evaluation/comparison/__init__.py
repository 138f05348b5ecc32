"""Models compared on the same samples."""
