"""OpenAI's Responses API: answers that are kept, continued, made in the background."""
