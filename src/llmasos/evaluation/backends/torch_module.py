"""A torch module in memory, as training has it: no engine, no copy of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from llmasos.errors import Unsupported
from llmasos.evaluation.backends.encoding import PromptEncoder, rolling_windows
from llmasos.evaluation.backends.engine import encoder_notes, not_a_number
from llmasos.evaluation.backends.protocol import (
    Ability,
    Answer,
    Call,
    Continue,
    Label,
    Predict,
    PromptInput,
    Write,
    Written,
)
from llmasos.i18n import t


@dataclass(frozen=True, slots=True)
class _Part:
    """A sequence to read: the log-probabilities of its last ``count`` tokens belong to the call ``index``."""

    index: int
    ids: list[int]
    count: int


class ModuleBackend:
    """See :class:`~llmasos.evaluation.backends.protocol.Backend`.

    Args:
        module: a causal language model as transformers has them: called with ``input_ids`` and ``attention_mask`` it
            returns an object with ``logits``: (batch, length, vocabulary). It should be in evaluation mode.
        encoder: of its tokenizer.
        end_ids: tokens that end an answer.
        context_length: longest sequence in tokens.
        batch_tokens: tokens of one pass, padding included.
    """

    abilities: frozenset[Ability] = frozenset({"loglikelihood", "perplexity", "generate"})
    labels: Sequence[str] | None = None
    digest: str | None = None

    def __init__(
        self,
        module: torch.nn.Module,
        encoder: PromptEncoder,
        *,
        end_ids: Sequence[int],
        context_length: int,
        batch_tokens: int = 8192,
        reference: str = "module",
    ) -> None:
        self._module, self._encoder = module, encoder
        self._end_ids = frozenset(end_ids)
        self._context, self._batch_tokens = context_length, batch_tokens
        self.reference = reference
        parameter = next(module.parameters())
        self._device = parameter.device
        self.facts: Mapping[str, Any] = {
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "device": str(parameter.device),
            "context": context_length,
        }
        self.has_chat_template: bool | None = encoder.template is not None

    @property
    def notes(self) -> tuple[str, ...]:
        return encoder_notes(self._encoder)

    def show(self, prompt: PromptInput) -> str:
        return str(self._encoder.rendered(prompt))

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        answers: dict[int, Answer] = {}
        parts: list[_Part] = []
        for index, call in enumerate(calls):
            if isinstance(call, Write):
                continue
            if isinstance(call, Label):
                raise Unsupported(t("this model writes text and is no classifier"))
            answer, pairs = self._pairs(call)
            answers[index] = answer
            parts += [_Part(index, context + text, len(text)) for context, text in pairs]
        yield from self._rated(answers, parts)
        for index, call in enumerate(calls):
            if isinstance(call, Write):
                yield index, self._write(call)

    def close(self) -> None:
        """Nothing: the module belongs to the caller."""

    # --- rating -----------------------------------------------------------------------------------------------

    def _pairs(self, call: Continue | Predict) -> tuple[Answer, list[tuple[list[int], list[int]]]]:
        if isinstance(call, Predict):
            tokens = self._encoder.text(call.text)
            window = min(call.window or self._context - 1, self._context - 1)
            pairs = list(rolling_windows(tokens, self._encoder.begin_id, window))
            answer = Answer(call.text, len(tokens), tokens=sum(len(text) for _, text in pairs))
            return (answer, pairs) if pairs else (_nothing(call.text), [])
        sent, context, text = self._encoder.pair(call.prompt, call.continuation)
        if not context or not text:
            return _nothing(sent), []
        room = self._context - len(text)
        if room < 1:
            problem = t(
                "the text to rate has {count} tokens; the model's context holds {limit}", count=len(text),
                limit=self._context,
            )  # fmt: skip
            return Answer(sent, error=problem), []
        cut = max(len(context) - room, 0)
        answer = Answer(sent, len(context) - cut, tokens=len(text), truncated_tokens=cut)
        return answer, [(context[cut:], text)]

    def _rated(self, answers: dict[int, Answer], parts: Sequence[_Part]) -> Iterator[tuple[int, Answer]]:
        totals: dict[int, list[float]] = {index: [] for index in answers}
        greedy = dict.fromkeys(answers, True)
        for batch in self._batches(parts):
            for part, (total, likeliest) in zip(batch, self._read(batch), strict=True):
                totals[part.index].append(total)
                greedy[part.index] = greedy[part.index] and likeliest
        for index, answer in answers.items():
            if answer.error is not None:
                yield index, answer
                continue
            total = math.fsum(totals[index])
            if math.isfinite(total):
                yield index, replace(answer, logprob=total, greedy=greedy[index])
            else:
                yield index, replace(answer, error=not_a_number(total))

    def _batches(self, parts: Sequence[_Part]) -> Iterator[list[_Part]]:
        """Sequences of like length together, the longest first, so that memory runs out at once or never."""
        batch: list[_Part] = []
        for part in sorted(parts, key=lambda part: -len(part.ids)):
            width = len(batch[0].ids) if batch else len(part.ids)
            if batch and width * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(part)
        if batch:
            yield batch

    @torch.inference_mode()
    def _read(self, batch: Sequence[_Part]) -> list[tuple[float, bool]]:
        width = max(len(part.ids) for part in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for row, part in enumerate(batch):  # padded on the right: a causal model reads nothing of it
            ids[row, : len(part.ids)] = torch.tensor(part.ids)
            mask[row, : len(part.ids)] = 1
        logits = self._module(input_ids=ids.to(self._device), attention_mask=mask.to(self._device)).logits
        found = []
        for row, part in enumerate(batch):
            length = len(part.ids)
            scores = logits[row, length - part.count - 1 : length - 1].float()
            targets = torch.tensor(part.ids[length - part.count :], device=scores.device)
            logprobs = scores.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
            likeliest = bool((scores.argmax(-1) == targets).all())
            found.append((float(logprobs.double().sum()), likeliest))
        return found

    # --- writing ----------------------------------------------------------------------------------------------

    def _write(self, call: Write) -> Answer:
        sent, ids = self._encoder.prompt(call.prompt)
        if not ids:
            return _nothing(sent)
        room = max(self._context - min(call.max_tokens, self._context // 2), 1)
        cut = max(len(ids) - room, 0)
        outputs = tuple(self._continued(ids[cut:], call, call.seed + number) for number in range(call.samples))
        return Answer(sent, len(ids) - cut, outputs=outputs, truncated_tokens=cut)

    @torch.inference_mode()
    def _continued(self, prompt: list[int], call: Write, seed: int) -> Written:
        """One answer, token by token. The whole sequence is read for each: right for every module, if not quick."""
        choose = _chooser(call, seed)
        tokens: list[int] = []
        most = min(call.max_tokens, self._context - len(prompt))
        while len(tokens) < most:
            ids = torch.tensor([prompt + tokens], device=self._device)
            logits = self._module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].float()
            token = choose(logits)
            if token in self._end_ids:
                return Written(self._encoder.tokenizer.decode(tokens), "stop")
            tokens.append(token)
            if call.stop:
                text = self._encoder.tokenizer.decode(tokens)
                places = [place for place in map(text.find, call.stop) if place >= 0]
                if places:
                    return Written(text[: min(places)], "stop")
        return Written(self._encoder.tokenizer.decode(tokens), "length")


def _chooser(call: Write, seed: int) -> Callable[[torch.Tensor], int]:
    if call.temperature == 0:
        return lambda logits: int(logits.argmax())
    generator = torch.Generator().manual_seed(seed)

    def sample(logits: torch.Tensor) -> int:
        chances, order = (logits.cpu() / call.temperature).softmax(-1).sort(descending=True)
        # Whatever comes before a token and reaches top_p already makes it superfluous.
        chances[chances.cumsum(-1) - chances >= call.top_p] = 0
        return int(order[torch.multinomial(chances, 1, generator=generator)])

    return sample


def _nothing(sent: str) -> Answer:
    return Answer(sent, error=t("there is nothing to rate: a text is empty"))
