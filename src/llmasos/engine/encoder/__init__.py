"""Encoders (embeddings, classification) behind the same requests as models that write."""
