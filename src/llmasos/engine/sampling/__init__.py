"""How the next token is chosen: per-request state, edits of the logits, truncation, the draw, log-probabilities.

Order of the transformations of one row of logits (that of transformers' ``generate``; vLLM's differs only in
applying ``min_p`` before ``top_k`` and ``top_p``):

1. grammar mask: tokens that the grammar does not allow get ``-inf``;
2. ``logit_bias`` is added;
3. ``repetition_penalty`` (tokens of prompt and output), then ``frequency_penalty`` and ``presence_penalty``
   (tokens of the output);
4. end tokens and stop ids get ``-inf`` before ``min_tokens`` tokens of output;
5. ``temperature`` divides the logits (0 takes the largest, lowest id first among equals, and ends here);
6. ``top_k`` (ties with the k-th are kept), 7. ``top_p``, 8. ``min_p``, 9. ``typical_p``, each on the distribution
   that the one before left, normalised again.

The draw is an exponential race (Gumbel-max) with numbers that depend only on the request's seed, the index of the
choice, the position in the output and the token: neighbours in the batch, speculation, preemption and restarts never
change it. Log-probabilities are those of the raw distribution: before any of the steps above.
"""
