"""Encoder-decoder models (translation, summarisation) with requests that join and leave between two steps."""
