"""How an answer is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmasos.engine.request import Grammar
from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.server.serving.job import Job

Form = Literal["text", "json", "json_schema", "regex"]
FORMS: tuple[Form, ...] = get_args(Form)
ALTERNATIVES = 5
"""Alternatives that are shown with each token."""
OPTIONAL = (
    "top_k", "min_p", "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed",
)  # fmt: skip
"""Settings that may be left to the model."""


@dataclass
class TalkSettings:
    """What the controls of the playground say.

    Attributes:
        typical_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty: ``None``: as the model's own
            configuration has it.
        stop: texts that end the answer.
        seed: ``None``: another each time.
        form: what the answer must be; ``source`` is the schema or the pattern.
        probabilities: whether the tokens come with their probabilities.
    """

    system: str = ""
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int = 512
    seed: int | None = None
    form: Form = "text"
    source: str = ""
    probabilities: bool = False

    def messages(self, said: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """What was said, with the system prompt before it."""
        system = [{"role": "system", "content": self.system.strip()}] if self.system.strip() else []
        return [*system, *(dict(message) for message in said)]

    def schema(self) -> dict[str, Any]:
        """The schema of the answer.

        Raises:
            InvalidRequest: it is not a JSON object.
        """
        try:
            found = json.loads(self.source)
        except json.JSONDecodeError as error:
            raise InvalidRequest(
                t("the schema is not JSON: line {line}, column {column}: {reason}", line=error.lineno,
                  column=error.colno, reason=error.msg),
                hint=t("A schema looks like this: {example}", example='{"type": "object", "properties": {}}'),
            ) from error  # fmt: skip
        if not isinstance(found, dict):
            raise InvalidRequest(t("the schema is not a JSON object"))
        return found

    def grammar(self) -> Grammar | None:
        """What the answer must be, as the engine takes it.

        Raises:
            InvalidRequest: the schema or pattern is empty or not valid.
        """
        match self.form:
            case "text":
                return None
            case "json":
                return Grammar("json_schema", {"type": "object"})  # as the API does it
            case "json_schema":
                return Grammar("json_schema", self.schema())
            case "regex":
                if not self.source.strip():
                    raise InvalidRequest(t("there is no pattern"), hint=t("Write a regular expression."))
                return Grammar("regex", self.source)

    def sampling(self) -> dict[str, Any]:
        """What was chosen, by the names that the engine and the API have in common."""
        options: dict[str, Any] = {
            "temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens,
        }  # fmt: skip
        options |= {name: value for name in OPTIONAL if (value := getattr(self, name)) is not None}
        if self.stop:
            options["stop"] = list(self.stop)
        return options

    def job(self, model: str, said: Sequence[Mapping[str, str]]) -> Job:
        """The request for an answer.

        Raises:
            InvalidRequest: see :meth:`grammar`.
        """
        options = self.sampling()
        if self.probabilities:
            options["logprobs"] = ALTERNATIVES
        return Job(model, messages=self.messages(said), options=options, output_format=self.grammar())
