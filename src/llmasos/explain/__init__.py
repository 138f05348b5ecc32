"""What a model makes of a text: how likely each token was, what attended to what, what each layer would say."""
