"""What a model is trained to do: from a module and a batch to a loss that is summed and can be added up."""
