"""OpenAI's API: chat completions, completions, embeddings, models; and what vLLM and llama.cpp added to it."""
