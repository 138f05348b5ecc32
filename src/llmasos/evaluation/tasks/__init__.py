"""The tasks that come with LLMasOS, one YAML file each, and how they are found."""
