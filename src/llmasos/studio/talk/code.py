"""A conversation as a program that asks the same of the API of this server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos.studio.talk.settings import ALTERNATIVES, TalkSettings

Said = Sequence[Mapping[str, str]]
_ADDITIONS = ("top_k", "min_p", "typical_p", "repetition_penalty", "structured_outputs")
"""Fields that OpenAI's own package does not know by name."""


def body(model: str, said: Said, settings: TalkSettings) -> dict[str, Any]:
    """The fields of ``/v1/chat/completions``, those of our own at the end.

    Raises:
        InvalidRequest: the schema is not valid.
    """
    fields: dict[str, Any] = {
        "model": model, "messages": settings.messages(said), **settings.sampling(),
    }  # fmt: skip
    if settings.probabilities:
        fields |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
    if settings.form == "json":
        fields["response_format"] = {"type": "json_object"}
    if settings.form == "json_schema":
        schema = {"name": "answer", "schema": settings.schema(), "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    if settings.form == "regex":
        fields["structured_outputs"] = {"regex": settings.source}
    return fields


def curl(address: str, model: str, said: Said, settings: TalkSettings) -> str:
    """A command."""
    text = json.dumps(body(model, said, settings), ensure_ascii=False, indent=2)
    return (
        f"curl {address}/v1/chat/completions \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(text)}\n"
    )


def python(address: str, model: str, said: Said, settings: TalkSettings) -> str:
    """A program with OpenAI's package."""
    fields = body(model, said, settings)
    extra = {name: fields.pop(name) for name in _ADDITIONS if name in fields}
    if extra:
        fields["extra_body"] = extra
    lines = [f"    {name}={value!r}," for name, value in fields.items()]
    return "\n".join([
        "from openai import OpenAI", "", f'client = OpenAI(base_url="{address}/v1", api_key="none")',
        "answer = client.chat.completions.create(", *lines, ")", "print(answer.choices[0].message.content)", "",
    ])  # fmt: skip


def javascript(address: str, model: str, said: Said, settings: TalkSettings) -> str:
    """A program with OpenAI's package."""
    text = json.dumps(body(model, said, settings), ensure_ascii=False, indent=2)
    return "\n".join([
        'import OpenAI from "openai";', "",
        f'const client = new OpenAI({{ baseURL: "{address}/v1", apiKey: "none" }});',
        f"const answer = await client.chat.completions.create({text});",
        "console.log(answer.choices[0].message.content);", "",
    ])  # fmt: skip
