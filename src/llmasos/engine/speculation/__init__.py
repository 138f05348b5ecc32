"""Speculation: several tokens of a sequence verified in one pass, without changing what comes out.

A proposer guesses the next tokens of a sequence. The pass computes the logits after each guess, and the sampler
chooses a token from each of these rows exactly as it would have chosen it one pass later: with the same logits, the
same penalties, and the random numbers that belong to the seed and the position. The guesses stand as far as they
equal what was chosen; the first choice that differs takes the place of its guess, and the rows after it are dropped.

So every token of the output is the sampler's own choice, and the output with speculation *is* the output without it:
not only its distribution, but the same text for the same seed. This holds for any proposer, deterministic or not, and
whenever it is switched on or off. For a guess that is a point mass this is the rejection sampling of Leviathan et
al. (arXiv:2211.17192): the guess x is accepted with probability p(x), and what replaces it has the distribution p
without x. For a draft model with its own distribution q, rejection sampling could accept a little more often (with
probability 1 - TV(p, q)), but its output would depend on when it speculates, and that depends on measured times. The
draft model here draws its guesses with the same random numbers as the sampler will instead: an exponential race with
common numbers chooses the same token with probability at least (1 - TV) / (1 + TV).
"""
