"""Instructions that a program can check, such as a number of words or a language, in English and Chinese.

The names and arguments are those of IFEval (Zhou et al., 2023, https://arxiv.org/abs/2311.07911), so that its data
can be used; some more are for Chinese.
"""
