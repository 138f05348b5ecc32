"""Where artefacts come from and go to: PyPI packages, the Hugging Face hub, OCI registries, folders and files."""
