"""What is explained: a text, or an answer that stands after its question as the model would see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.prompt import Prompt, Segment

if TYPE_CHECKING:
    from llmasos.modeling.model import Model


@dataclass(frozen=True, slots=True)
class TokenText:
    """Token ids, of which the first ``context`` are the question and what the model's template puts around it."""

    ids: list[int]
    context: int = 0


def read_text(model: Model, text: str, prompt: str | None = None) -> TokenText:
    """The tokens of a text; with ``prompt``, of an answer to it: in the model's chat template, or right after it for a
    model that has none.

    Raises:
        InvalidRequest: the text or the prompt is empty.
    """
    for name, value in (("text", text), ("prompt", prompt)):
        if value is not None and not value.strip():
            raise InvalidRequest(
                t("the {name} is empty", name=name), hint=t("Write at least one word, or leave the prompt out.")
            )
    tokenizer = model.tokenizer
    if prompt is None:
        return TokenText(tokenizer.encode(text).ids)
    template = model.chat_template
    if template is None:
        before = tokenizer.encode(prompt).ids
    else:
        before = tokenizer.encode_prompt(template.render([{"role": "user", "content": prompt}]))
    return TokenText([*before, *tokenizer.encode_continuation(Prompt((Segment(text, literal=True),)))], len(before))
