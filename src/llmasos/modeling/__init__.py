"""From a folder of weights to verbs: generate, chat, stream, classify, embed, tokenize.

Nothing here imports torch or transformers when it is itself imported, except the modules that run a model
(:mod:`~llmasos.modeling.transformers_backend`, :mod:`~llmasos.modeling.sampler`,
:mod:`~llmasos.modeling.classification`, :mod:`~llmasos.modeling.embedding`, :mod:`~llmasos.modeling.pooling`).
"""
