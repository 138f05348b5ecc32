"""What a model thinks aloud before it answers. It is no part of the answer."""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"


def without_thoughts(output: str, *, opened: bool = False) -> str:
    """An output without the thoughts that it begins with; nothing is left if they never end.

    Args:
        opened: the prompt ends with the opening tag, as it does with templates of models that always think.
    """
    before, closed, answer = output.partition(CLOSING)
    begins = opened or before.lstrip().startswith(OPENING)
    # A closing tag alone: the opening one stood in the prompt, or the tokenizer left it out as a special token.
    if begins or (closed and OPENING not in before):
        return answer.lstrip("\n")
    return output
