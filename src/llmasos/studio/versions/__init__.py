"""What the page of a model is made of: lineage, versions, files, comparison, push."""
