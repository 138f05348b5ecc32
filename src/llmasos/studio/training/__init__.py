"""What the page for training is made of."""
