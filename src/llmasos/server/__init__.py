"""The API server: OpenAI, Anthropic and Ollama over one engine.

Importing this package costs nothing; :func:`llmasos.server.application.create_application` builds the web application
and :func:`llmasos.server.process.serve` runs it.
"""
