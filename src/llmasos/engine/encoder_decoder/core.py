"""The engine of encoder-decoder models on one thread: read prompts, one decoder step for all outputs, and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch

from llmasos.engine.core import RUNNER_FAULTS
from llmasos.engine.output import ActiveRequest, Output
from llmasos.engine.request import FinishReason, TokenLogprob
from llmasos.engine.sampler import Sampler
from llmasos.engine.sampling.logprobs import token_logprobs
from llmasos.engine.task import Generate
from llmasos.engine.waiting import Deadlines, WaitingLine
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.encoder_decoder.beams import BeamSearcher
    from llmasos.engine.encoder_decoder.rules import ModelRules, OutputRules
    from llmasos.engine.encoder_decoder.runner import EncoderDecoderRunner
    from llmasos.modeling.backend import GenerationRequest

logger = logging.getLogger(__name__)


class ActiveOutputs(ActiveRequest):
    """A request for outputs of an encoder-decoder model."""

    __slots__ = ("beam_request", "first_token_id")

    first_token_id: int | None
    """The token that every output begins with, where the request names a language."""
    beam_request: GenerationRequest | None
    """The same request for beam search; ``None``: token by token."""


class Row:
    """A live output: the tokens of its decoder, the start token first, and its rules."""

    __slots__ = ("active", "output", "rules", "tokens")

    def __init__(self, active: ActiveOutputs, output: Output, rules: OutputRules, start_id: int) -> None:
        self.active = active
        self.output = output
        self.rules = rules
        self.tokens = [start_id]


class EncoderDecoderCore:
    """Line, batch, rules and sampler. All methods belong to the inference thread."""

    def __init__(
        self,
        runner: EncoderDecoderRunner,
        rules: ModelRules,
        beams: BeamSearcher,
        *,
        start_id: int,
        most_tokens: int,
        most_rows: int,
        cache_bytes: int,
        aging: float,
    ) -> None:
        self._runner = runner
        self._rules = rules
        self.beams = beams
        self._forbidden = rules.forbidden.to(runner.device)
        self._start_id = start_id
        self._most_tokens = most_tokens
        self._most_rows = most_rows
        self._cache_bytes = cache_bytes
        self._sampler = Sampler()
        self.line: WaitingLine[ActiveOutputs] = WaitingLine(aging)
        self._deadlines: Deadlines[ActiveOutputs] = Deadlines()
        self.live: list[Row] = []
        """In the order of the runner's rows."""
        self.passes = 0
        self.rows = 0
        self.prompt_tokens = 0
        self.output_tokens = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.live and not self.line

    # --- requests ---------------------------------------------------------------------------------------------

    def add(self, active: ActiveOutputs) -> None:
        """Queue a request."""
        if active.beam_request is not None:
            self.beams.add(active, active.beam_request)
            return
        self.line.add(active, active.request.priority)
        self._deadlines.add(active)

    def end(self, active: ActiveOutputs, reason: FinishReason, error: str | None = None) -> None:
        """End what is left of a request."""
        if active.beam_request is not None:
            self.beams.end(active, reason, error)
            return
        if not active.unfinished or not active.outputs:
            return
        if active in self.line:
            self.line.remove(active)
        gone = {place for place, row in enumerate(self.live) if row.active is active}
        self._leave(gone)
        for output in active.outputs:
            if output.finish_reason is None:
                output.finish(reason, error=error)
                active.publish(output)
        self._dismiss(active)

    def end_all(self, reason: FinishReason, error: str | None = None) -> None:
        """End every request."""
        self.beams.end_all(reason, error)
        for active in [*self.line, *dict.fromkeys(row.active for row in self.live)]:
            self.end(active, reason, error)

    def _dismiss(self, active: ActiveOutputs) -> None:
        self._deadlines.discard(active)
        active.dismiss()

    def _leave(self, gone: Collection[int]) -> None:
        """Take rows out of the batch; the last ones move into their places."""
        if not gone:
            return
        order = list(range(len(self.live)))
        for place in sorted(gone, reverse=True):
            order[place] = order[-1]
            order.pop()
        self._runner.keep(order)
        self.live = [self.live[place] for place in order]

    # --- one pass ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self) -> None:
        """One decoder step of the live outputs, then read the prompts that there is room for."""
        now = time.monotonic()
        for late in self._deadlines.late(now):
            self.end(late, "deadline")
        if self.live:
            self._decode()
        newcomers = self._admitted()
        if newcomers:
            self._start(newcomers)
        elif not self.live and not self.line:
            self._runner.clear()  # the memory of the largest batch is not kept while nobody asks

    def _decode(self) -> None:
        try:
            logits = self._runner.step([row.tokens[-1] for row in self.live])
        except RUNNER_FAULTS as error:
            self._lose_batch(error)
            return
        self.passes += 1
        self.rows += len(self.live)
        self._choose(self.live, logits)
        self._leave({place for place, row in enumerate(self.live) if row.output.finish_reason is not None})

    def _start(self, newcomers: list[ActiveOutputs]) -> None:
        """Read prompts, give every output its first token and let those join that go on."""
        now = time.monotonic()
        for active in newcomers:
            self.line.remove(active)
            active.first_scheduled = now
        try:
            started = self._runner.start([active.prompt_ids for active in newcomers])
        except RUNNER_FAULTS as error:
            self._fail(newcomers, error)
            return
        self.passes += 1
        self.prompt_tokens += sum(len(active.prompt_ids) for active in newcomers)
        self.rows += sum(len(active.prompt_ids) for active in newcomers)
        rows = [self._row(active, output) for active in newcomers for output in active.outputs]
        picks = [place for place, active in enumerate(newcomers) for _ in active.outputs]
        first = time.monotonic()
        for active in newcomers:
            active.first_token = first
        self._choose(rows, started.logits[picks])
        going = [place for place, row in enumerate(rows) if row.output.finish_reason is None]
        if going:
            try:
                self._runner.join(started, [picks[place] for place in going])
            except RUNNER_FAULTS as error:  # out of memory: the rows that were live may be torn too
                self._lose_batch(error)
                self._fail([rows[place].active for place in going], error)
                return
            self.live += [rows[place] for place in going]

    def _row(self, active: ActiveOutputs, output: Output) -> Row:
        task = active.request.task
        assert isinstance(task, Generate)
        rules = self._rules.for_output(
            active.prompt_ids,
            limit=output.limit,
            first=active.first_token_id,
            no_repeat_ngram_size=task.no_repeat_ngram_size,
            ignore_eos=active.request.sampling.ignore_eos,
            device=self._runner.device,
        )
        return Row(active, output, rules, self._start_id)

    def _lose_batch(self, error: BaseException) -> None:
        """A step failed, and with it the cache: end everything that is live."""
        failed, self.live = [row.active for row in self.live], []
        self._runner.clear()
        self._fail(failed, error)

    def _fail(self, failed: Sequence[ActiveOutputs], error: BaseException) -> None:
        logger.error("a pass over %d outputs failed", len(failed), exc_info=error)
        message = t("the model failed while computing: {error}", error=f"{type(error).__name__}: {error}")
        for active in dict.fromkeys(failed):
            self.end(active, "error", message)

    # --- who goes on ------------------------------------------------------------------------------------------

    def _admitted(self) -> list[ActiveOutputs]:
        """The waiting requests that may start now, in order of service and none past another.

        Prompts of one pass are bounded by a budget of tokens, padding counted, so that no stream stalls for long.
        """
        if self.live and not self._runner.joins:
            return []
        chosen: list[ActiveOutputs] = []
        rows, longest = len(self.live), 0
        sizes = [(len(row.active.prompt_ids), row.output.limit) for row in self.live]
        for active in self.line:
            rows += len(active.outputs)
            longest = max(longest, len(active.prompt_ids))
            sizes.append((len(active.prompt_ids), active.outputs[0].limit))
            alone = not self.live and not chosen
            full = rows > self._most_rows or (len(chosen) + 1) * longest > self._most_tokens
            if not alone and (full or self.needed_bytes(rows, sizes) > self._cache_bytes):
                break
            chosen.append(active)
        return chosen

    def needed_bytes(self, rows: int, sizes: Sequence[tuple[int, int]]) -> int:
        """Memory of the cache for outputs of prompts and limits like ``sizes``: all rows are as wide as the widest."""
        prompt, output = (max(values) for values in zip(*sizes, strict=True))
        size: int = rows * (prompt * self._runner.prompt_bytes + output * self._runner.output_bytes)
        return size

    # --- tokens -----------------------------------------------------------------------------------------------

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Give every row its next token from (rows, vocabulary) logits, and its caller the news."""
        if len(self._forbidden):
            logits[:, self._forbidden] = -torch.inf
        fixed: dict[int, int] = {}
        for place, row in enumerate(rows):
            row.rules.edit(logits[place], row.tokens)
            token = row.rules.prescribed(row.output.sampling.position)
            if token is not None:
                fixed[place] = token
        for place, token in fixed.items():
            self._take(rows[place], token, _logprob(rows[place].output, logits[place], token))
        free = [place for place in range(len(rows)) if place not in fixed]
        if free:
            states = [rows[place].output.sampling for place in free]
            sampled = self._sampler.sample(logits if len(free) == len(rows) else logits[free], states)
            for index, place in enumerate(free):
                if index in sampled.failures:
                    rows[place].output.finish("error", error=sampled.failures[index])
                else:
                    logprob = sampled.logprobs[index] if sampled.logprobs is not None else None
                    self._take(rows[place], sampled.tokens[index], logprob)
        for row in rows:
            active = row.active
            active.publish(row.output)
            if not active.unfinished:
                self._dismiss(active)

    def _take(self, row: Row, token: int, logprob: TokenLogprob | None) -> None:
        self.output_tokens += 1
        row.tokens.append(token)
        if row.rules.ends(row.output.sampling.position):
            row.output.take_prescribed_end(token, logprob)
        else:
            row.output.take(token, logprob)

    def close(self) -> None:
        """Free the model."""
        self.beams.close()
        self._runner.close()


def _logprob(output: Output, logits: torch.Tensor, token: int) -> TokenLogprob | None:
    sampling = output.sampling
    if not sampling.wants_logprob:
        return None
    return token_logprobs(logits[None].cpu(), [token], [sampling.parameters.logprobs or 0])[0]
