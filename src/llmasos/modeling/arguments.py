"""What callers may pass to the verbs: one or many, texts, pairs and conversations; and who can do what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.folder import Family
from llmasos.modeling.messages import EXAMPLE, Message

_Item = TypeVar("_Item")


def each(value: str | Sequence[str], work: Callable[[list[str]], list[_Item]]) -> _Item | list[_Item]:
    """Apply ``work`` to a text or to a list of texts; the result has the same form."""
    if isinstance(value, str):
        return work([value])[0]
    if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="text", value=repr(value)[:80],
              allowed=t("a text or a list of texts")),
            hint=t("Pass a text, or a list of texts."),
        )  # fmt: skip
    return work(list(value)) if value else []


def conversation(value: object) -> list[Message]:
    """Messages as a list; a text stands for one message of the user."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, Sequence):
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="messages", value=repr(value)[:80],
              allowed=t("a text or a list of messages")),
            hint=t("Pass messages such as {example}.", example=EXAMPLE),
        )  # fmt: skip
    return list(value)


def texts_and_pairs(text: object, pair: object) -> tuple[list[tuple[str, str | None]], bool]:
    """Inputs of a classifier, and whether a list of them was given.

    Args:
        text: a text, a pair (tuple of two), or a list of either.
        pair: the second text, or one for each text of the list.
    """
    many = not isinstance(text, str | tuple)
    if not many:
        texts: list[object] = [text]
    elif isinstance(text, Sequence):
        texts = list(text)
    else:
        raise _not_a_text(text)
    if pair is None:
        return [_text_or_pair(item) for item in texts], many
    second = list(pair) if isinstance(pair, Sequence) and not isinstance(pair, str) else [pair]
    if many == isinstance(pair, str) or len(second) != len(texts):
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="pair", value=repr(pair)[:80],
              allowed=t("one second text for each text: {count}", count=len(texts))),
            hint=t("Pass as many second texts as texts, or a list of tuples."),
        )  # fmt: skip
    return [_text_or_pair(found) for found in zip(texts, second, strict=True)], many


def _text_or_pair(item: object) -> tuple[str, str | None]:
    if isinstance(item, str):
        return item, None
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return item
    raise _not_a_text(item)


def _not_a_text(value: object) -> InvalidRequest:
    return InvalidRequest(
        t("{name} = {value}: allowed is {allowed}", name="text", value=repr(value)[:80],
          allowed=t("a text, a pair of texts (tuple), or a list of them")),
        hint=t("Pass a text, or a list of texts."),
    )  # fmt: skip


def kind_of(family: Family) -> str:
    return {
        Family.CAUSAL: t("a model that continues text"),
        Family.SEQ2SEQ: t("a model that turns one text into another"),
        Family.CLASSIFIER: t("a classifier"),
        Family.ENCODER: t("an encoder, which turns texts into vectors"),
    }[family]


def where_to_look(verb: str) -> str:
    if verb == "classify":
        return t("Take a classifier, such as textattack/bert-base-uncased-SST-2.")
    if verb == "embed":
        return t("Take an embedding model, such as minilm:l6-v2.")
    if verb == "chat":
        return t("Take a model tuned for conversation, such as smollm2:135m-instruct.")
    return t("Take a model that writes text, such as smollm2:135m-instruct or google/flan-t5-xl.")
