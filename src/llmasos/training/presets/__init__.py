"""Models from scratch: sizes that work, the tokenizers that go with them, and their first random weights."""
