"""What the pages of evaluation are made of."""
