"""Our backends as a model of lm-evaluation-harness, so that its tasks run unchanged.

What the harness asks at once goes to the engine at once: it batches, and reads shared beginnings once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs

from llmasos import progress
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.evaluation.backends.protocol import Answer, Backend, Call, Continue, Predict, PromptInput, Write
from llmasos.i18n import t

DEFAULT_TOKENS = 256
"""Tokens of an answer for tasks that set no limit, as the harness's own models have it."""

_HONOURED = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p", "seed"})
#: Settings that are not honoured, with the values that change nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,), "num_return_sequences": (1,), "repetition_penalty": (1,), "length_penalty": (1,),
    "top_k": (0, -1), "min_p": (0,), "use_cache": (True,),
}  # fmt: skip


class EngineLM(LM):  # type: ignore[misc]  # lm-eval has no types
    """A backend behind the interface of the harness.

    Args:
        backend: answers; it is not closed here.
        seed: of sampled answers.
    """

    def __init__(self, backend: Backend, *, seed: int = 0) -> None:
        super().__init__()
        self._backend, self._seed = backend, seed
        self._conversations: dict[str, PromptInput] = {}

    # --- what the harness asks ------------------------------------------------------------------------------------

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """(log-probability, whether it is the likeliest) of continuations.

        Raises:
            Unsupported: the model rates no texts.
            InvalidRequest: a request cannot be answered; the message has the first reason.
        """
        self._need("loglikelihood", t("rate continuations"))
        calls = [Continue(self._prompt(context), text) for context, text in (request.args for request in requests)]
        results = [(_logprob(answer), answer.greedy) for answer in self._answers(calls)]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, result)
        return results

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Log-probability of whole texts; raises as :meth:`loglikelihood`."""
        self._need("perplexity", t("rate whole texts"))
        results = [_logprob(answer) for answer in self._answers([Predict(request.args[0]) for request in requests])]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, result)
        return results

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answers up to a stop text; raises as :meth:`loglikelihood`, and for settings that are not honoured."""
        self._need("generate", t("write answers"))
        calls = [self._write(*request.args) for request in requests]
        results = [answer.outputs[0].text for answer in self._answers(calls)]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, result)
        return results

    # --- conversations --------------------------------------------------------------------------------------------

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text. The harness passes texts on; the conversation behind one is remembered, so that
        the engine gets the template's own tokens and no text of a user can forge one."""
        messages, prefix = list(chat_history), ""
        if not add_generation_prompt and messages and messages[-1]["role"] == "assistant":
            prefix = messages.pop()["content"]
        prompt = PromptInput(messages=tuple(messages), answer_prefix=prefix)
        text = self._backend.show(prompt)
        self._conversations[text] = prompt
        return text

    @property
    def tokenizer_name(self) -> str:
        """Part of the key under which the harness caches requests."""
        return self._backend.reference.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The harness records it; the template is the model's own.

        Raises:
            Unsupported: another template was asked for, or the model has none.
        """
        if isinstance(chat_template, str):
            raise Unsupported(
                t("this model has one chat template; {name!r} was asked for", name=chat_template),
                hint=t("Ask for conversations without naming a template."),
            )
        if not chat_template:
            return None
        if self._backend.has_chat_template is False:
            raise Unsupported(
                t("{model} has no chat template", model=self._backend.reference),
                hint=t("Leave out --chat, or choose a model that was trained on conversations."),
            )
        return self._backend.reference

    # --- inside ---------------------------------------------------------------------------------------------------

    def _prompt(self, context: str) -> PromptInput:
        return self._conversations.get(context) or PromptInput(context)

    def _write(self, context: str, given: Mapping[str, Any]) -> Write:
        options: dict[str, Any] = normalize_gen_kwargs(dict(given), DEFAULT_TOKENS)
        unknown = sorted(
            name
            for name, value in options.items()
            if name not in _HONOURED and value is not None and value not in _NEUTRAL.get(name, ())
        )
        if unknown:
            raise InvalidRequest(
                t("the task sets generation_kwargs.{name}, which is not honoured", name=unknown[0]),
                hint=t("Honoured are: {names}.", names=", ".join(sorted(_HONOURED))),
            )
        return Write(
            self._prompt(context),
            max_tokens=int(options["max_gen_toks"]),
            stop=tuple(text for text in options["until"] if text),
            temperature=float(options.get("temperature") or 0.0),
            top_p=float(options.get("top_p") or 1.0),
            seed=self._seed if options.get("seed") is None else int(options["seed"]),
        )

    def _answers(self, calls: Sequence[Call]) -> list[Answer]:
        answers: list[Answer | None] = [None] * len(calls)
        with progress.current().task(t("answer the harness"), total=len(calls), unit=t("requests")) as task:
            for done, (index, answer) in enumerate(self._backend.run(calls), start=1):
                answers[index] = answer
                task.update(done)
        found = [answer for answer in answers if answer is not None]
        assert len(found) == len(calls)
        failed = [answer for answer in found if answer.error is not None]
        if failed:
            raise InvalidRequest(
                t("{count} of {total} requests of the harness have no answer: {error}", count=len(failed),
                  total=len(calls), error=failed[0].error),
                hint=t("The harness has no place for single failures; `llmasos eval` has."),
            )  # fmt: skip
        cut = sum(answer.truncated_tokens > 0 for answer in found)
        if cut:
            progress.current().log(
                t("{count} of {total} prompts did not fit and lost their beginning", count=cut, total=len(calls)),
                level="warning",
            )
        return found

    def _need(self, ability: str, what: str) -> None:
        if ability not in self._backend.abilities:
            raise Unsupported(
                t("{model} cannot {what}, which the task asks for", model=self._backend.reference, what=what),
                hint=t("Choose a model that writes text."),
            )


def _logprob(answer: Answer) -> float:
    assert answer.logprob is not None
    return answer.logprob
