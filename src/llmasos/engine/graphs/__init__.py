"""Decoding over static shapes, so that a whole pass can be captured once and replayed as a CUDA graph."""
