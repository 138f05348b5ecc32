"""A language model as judge: marks for single answers, and verdicts on pairs in both orders."""
