"""How long a prompt is, and how a conversation is made to fit where its sender asked for that."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

from llmasos.modeling.messages import without_oldest_turn
from llmasos.server.serving.job import Job, Message
from llmasos.server.serving.prompts import prepare_prompt

if TYPE_CHECKING:
    from llmasos.modeling.model import Model
    from llmasos.server.serving.service import ModelService


async def count_prompt(service: ModelService, job: Job) -> int:
    """Tokens of the prompt that a job would have.

    Raises:
        LLMasOSError: there is no such model here, or it does not take such a job.
    """
    counted: int = await service.with_model(job.model, lambda model: _length(service, job, model))
    return counted


def _with_presets(service: ModelService, job: Job) -> Job:
    presets = service.names.find(job.model).presets
    return job if presets is None else presets.applied(job)


def _length(service: ModelService, job: Job, model: Model) -> int:
    return len(prepare_prompt(_with_presets(service, job), model.tokenizer, model.chat_template, model.reference).ids)


async def drop_oldest_turns(service: ModelService, job: Job) -> tuple[Job, int]:
    """The job without as many of its oldest turns as keep it from fitting, and how many messages those were.

    System messages at the beginning and the last turn stay. Room is left for ``max_tokens`` or half of the context, if
    that is less; without ``max_tokens``, for a quarter of it.

    Raises:
        LLMasOSError: there is no such model here, or it does not take such a job.
    """
    assert job.messages is not None
    shortened: list[list[Message]] = [list(job.messages)]
    while (shorter := without_oldest_turn(shortened[-1])) is not None:
        shortened.append(shorter)

    def work(model: Model) -> int:
        whole = _with_presets(service, job)
        limit = whole.context_limit or model.context_length
        if limit is None:
            return 0
        wanted = whole.options.get("max_tokens")
        room = limit // 4 if wanted is None else min(wanted, limit // 2)

        def excess(index: int) -> int:
            return max(0, _length(service, replace(job, messages=shortened[index]), model) + room - limit)

        if not excess(0):
            return 0
        # Whether a conversation fits grows with what is left out.
        return min(bisect_left(range(len(shortened)), True, key=lambda index: excess(index) == 0), len(shortened) - 1)

    chosen = shortened[await service.with_model(job.model, work)]
    return replace(job, messages=chosen), len(job.messages) - len(chosen)
