"""LLMasOS: from a base language model to a trustworthy application, on the machine you have.

    import llmasos

    model = llmasos.load("smollm2:135m-instruct")
    print(model.chat("What is the capital of France?"))

Importing the package is quick: what runs models is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Library",
    "Model",
    "__version__",
    "evaluate",
    "evaluate_in_background",
    "explain_text",
    "load",
    "merge",
    "prepare",
    "train",
    "train_in_background",
]

if TYPE_CHECKING:
    from llmasos.explain.explanation import explain_text
    from llmasos.library.store import Library
    from llmasos.modeling.model import Model
    from llmasos.sdk import load, merge, prepare, train, train_in_background
    from llmasos.sdk_evaluation import evaluate, evaluate_in_background

_LAZY = {
    "evaluate": "llmasos.sdk_evaluation",
    "evaluate_in_background": "llmasos.sdk_evaluation",
    "explain_text": "llmasos.explain.explanation",
    "load": "llmasos.sdk",
    "merge": "llmasos.sdk",
    "prepare": "llmasos.sdk",
    "train": "llmasos.sdk",
    "train_in_background": "llmasos.sdk",
    "Model": "llmasos.modeling.model",
    "Library": "llmasos.library.store",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use (PEP 562)."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'llmasos' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
