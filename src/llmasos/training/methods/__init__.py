"""Methods: which weights of a model are trained, and which new ones beside them."""
