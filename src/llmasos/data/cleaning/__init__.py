"""Cleaning of texts: repair, normalise, take out what is no text, mask what is nobody's business."""
