"""Parts of the computation of training that are faster or need less memory than what transformers does."""
