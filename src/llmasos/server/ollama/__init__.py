"""Ollama's API: generate, chat, embed, and the care of models; NDJSON streams."""
