"""The recipes of training: what they may say. Nothing here imports torch."""
