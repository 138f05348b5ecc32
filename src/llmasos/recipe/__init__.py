"""Recipes: YAML files that say what to do, each checked against one strict model; all problems are reported at once."""
