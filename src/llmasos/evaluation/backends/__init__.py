"""What answers the prompts of a task: models of the library, torch modules in memory, endpoints."""
