"""Conversations: what was said and might have been said, how it is asked for, and the same as code."""
