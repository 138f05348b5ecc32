"""Training: from a recipe and a data set to a model or an adapter in the library."""
