"""Which model judges, and how it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from llmasos import progress
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.evaluation.backends.protocol import Backend, PromptInput, Write
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.modeling.model import Model


class JudgeModel(BaseModel):
    """The model that judges: one of llmasos, or one behind an API like OpenAI's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="A model by name, source or folder; with endpoint, its name there.")
    endpoint: str | None = Field(None, description="Address of an API like OpenAI's, up to and including /v1.")
    api_key_variable: str | None = Field(None, description="Environment variable that holds the endpoint's key.")
    concurrency: int = Field(8, ge=1, le=1000, description="Calls to the endpoint at the same time.")
    max_tokens: int = Field(512, ge=1, description="Most tokens of a judgement.")

    @property
    def signature(self) -> str:
        """What scores depend on."""
        return f"judge:{self.model}" + ("" if self.endpoint is None else "|endpoint:yes")


@contextmanager
def open_judge(options: JudgeModel, open_model: Callable[[str], Model] | None) -> Iterator[Backend]:
    """What answers for the judge, open as long as the block runs.

    Args:
        open_model: loads a model by its reference.

    Raises:
        InvalidRequest: the variable of the key is not set, or models cannot be loaded here.
        Unsupported: the model does not write.
    """
    if options.endpoint is not None:
        from llmasos.evaluation.backends.endpoint import EndpointBackend, EndpointOptions

        key = None if options.api_key_variable is None else _key(options.api_key_variable)
        server = EndpointBackend(EndpointOptions(options.endpoint, options.model, key, options.concurrency))
        try:
            yield server
        finally:
            server.close()
        return
    if open_model is None:
        raise InvalidRequest(
            t("a judge of this machine cannot be loaded here"), hint=t("Give the address of an endpoint.")
        )
    from llmasos.evaluation.backends.open import backend_of

    with open_model(options.model) as model:
        backend = backend_of(model)
        if "generate" not in backend.abilities:
            raise Unsupported(
                t("{model} cannot judge: it does not write", model=options.model), hint=t("Choose a chat model.")
            )
        yield backend


def _key(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise InvalidRequest(
            t("the environment variable {name} is not set", name=variable), hint=t("Put the key of the endpoint there.")
        )
    return value


def ask(backend: Backend, questions: Sequence[str], max_tokens: int) -> list[str | None]:
    """The judge's texts, in the order of the questions; ``None``: there is none, or it was cut off."""
    calls = [
        Write(
            PromptInput(text=question)
            if backend.has_chat_template is False
            else PromptInput(messages=({"role": "user", "content": question},)),
            max_tokens,
        )
        for question in questions
    ]
    texts: list[str | None] = [None] * len(calls)
    with progress.current().task(t("judge"), total=len(calls), unit=t("answers")) as task:
        for place, answer in backend.run(calls):
            # Of a text that was cut off the last verdict may be one that the judge was about to take back.
            if answer.error is None and answer.outputs and answer.outputs[0].finish_reason != "length":
                texts[place] = answer.outputs[0].text
            task.advance()
    return texts
