"""The engine on one thread: requests in, one pass after the other, deltas out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from llmasos.engine.cache import KVCacheManager
from llmasos.engine.grammar_masks import MaskJob, MaskWorker
from llmasos.engine.layout import Part, Plan, lay_out
from llmasos.engine.output import ActiveRequest, Output
from llmasos.engine.request import FinishReason
from llmasos.engine.runner import ModelRunner
from llmasos.engine.sampler import SampledBatch, Sampler
from llmasos.engine.sampling.logprobs import token_logprobs
from llmasos.engine.sampling.state import SamplingState
from llmasos.engine.scheduler import Scheduler
from llmasos.engine.sequence import Sequence, State
from llmasos.engine.speculation.speculator import Proposer, Speculator
from llmasos.errors import LLMasOSError
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.grammar import GrammarState

logger = logging.getLogger(__name__)

# What a runner may raise: its own errors, those of torch (RuntimeError, TypeError, ...) and of native kernels.
RUNNER_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LLMasOSError, LookupError, MemoryError, OSError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


@dataclass(slots=True)
class Choice:
    """The sampler's batch."""

    states: list[SamplingState]
    drafts: list[list[int]]
    rows: list[int]
    """Rows of the runner's logits, one after the other for each state: 1 + drafts."""
    masks: list[MaskJob]


class EngineCore:
    """Drives scheduler, cache, runner and sampler. All methods belong to the inference thread."""

    def __init__(
        self,
        runner: ModelRunner,
        blocks: int,
        *,
        max_batch_tokens: int,
        max_sequences: int,
        aging: float,
        proposer: Proposer | None = None,
    ) -> None:
        """Allocate ``blocks`` blocks of cache; ``proposer`` guesses tokens ahead, nobody does without it.

        Raises:
            OutOfMemory: the runner cannot.
        """
        runner.allocate_cache(blocks)
        self.runner = runner
        self.cache = KVCacheManager(blocks, runner.block_size, runner.copy_block)
        self.scheduler = Scheduler(
            self.cache, max_batch_tokens=max_batch_tokens, max_sequences=max_sequences, aging=aging
        )
        self.sampler = Sampler()
        self.speculator = None if proposer is None else Speculator(proposer)
        self.live: set[ActiveRequest] = set()
        self.passes = 0
        self.rows = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self._timed: set[ActiveRequest] = set()
        self._numbers = count(1)
        self._masks: MaskWorker | None = None

    # --- requests ---------------------------------------------------------------------------------------------

    def add(self, active: ActiveRequest) -> None:
        """Queue a request."""
        self.live.add(active)
        if active.deadline is not None:
            self._timed.add(active)
        first = active.outputs[0]
        sequence = first.sequence = self._sequence(active, first, list(active.prompt_ids))
        if active.prompt_logprobs is not None:
            sequence.rows_wanted_from = sequence.match_limit = len(active.prompt_logprobs) - 1
        elif not active.request.reuse_prefix:
            sequence.match_limit = 0
        self.scheduler.add(sequence)

    def end(self, active: ActiveRequest, reason: FinishReason, error: str | None = None) -> None:
        """End what is left of a request; its blocks are free when this returns."""
        if active not in self.live:
            return
        for output in active.outputs:
            if output.finish_reason is None:
                output.finish(reason, error=error)
                self._close(output)

    def end_all(self, reason: FinishReason, error: str | None = None) -> None:
        """End every request."""
        for active in list(self.live):
            self.end(active, reason, error)

    def _sequence(self, active: ActiveRequest, output: Output, tokens: list[int]) -> Sequence:
        request = active.request
        sequence = Sequence(
            next(self._numbers), tokens, limit=active.limit, priority=request.priority, arrival=active.arrival,
            adapter=request.adapter, steering=request.steering, namespace=active.namespace,
        )  # fmt: skip
        sequence.prompt_length = len(active.prompt_ids)
        sequence.output = output
        return sequence

    def _close(self, output: Output) -> None:
        """Send the last delta of an output that has ended and free its place."""
        active, sequence = output.active, output.sequence
        if sequence is not None and sequence.state is not State.FINISHED:
            self.scheduler.remove(sequence, forget=output.finish_reason == "error")
            if self.speculator is not None:
                self.speculator.forget(sequence)
        active.publish(output)
        if not active.unfinished:
            self.live.discard(active)
            self._timed.discard(active)
            self.prompt_tokens += len(active.prompt_ids)
            self.cached_tokens += active.cached
            active.dismiss()

    def close(self) -> None:
        """Close the runner and what else holds threads."""
        if self._masks is not None:
            self._masks.close()
        self.runner.close()

    # --- one pass ---------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.live

    def step(self) -> None:
        """One pass: choose rows, compute them, take the tokens that come out."""
        now = time.monotonic()
        if self._timed:
            self._end_late(now)
        speculator = self.speculator
        if speculator is None:
            plan = self.scheduler.schedule()
        else:
            speculator.prepare(self.scheduler.decoding, self.scheduler.expected_prefill())
            plan = self.scheduler.schedule(speculator.draft)
        if not plan:
            return
        batch, parts = lay_out(plan)
        choice = self._choice(parts, now)
        if choice.masks:
            self._mask_worker().start_masks(choice.masks)  # computed beside the forward pass
        try:
            logits = self.runner.forward(batch)
        except RUNNER_FAULTS as error:
            if choice.masks:
                self._mask_worker().collect()
            self._fail(plan, error)
            return
        self.passes += 1
        self.rows += len(batch.tokens)
        self._take(parts, choice, logits)
        if speculator is not None:
            speculator.passed(len(batch.tokens), time.monotonic() - now)

    def _mask_worker(self) -> MaskWorker:
        if self._masks is None:
            self._masks = MaskWorker(self.runner.vocabulary_size)
        return self._masks

    def _end_late(self, now: float) -> None:
        for active in [active for active in self._timed if active.deadline is not None and active.deadline <= now]:
            self.end(active, "deadline")

    def _fail(self, plan: Plan, error: BaseException) -> None:
        """A pass failed: end its requests. Nothing of the pass was committed, so the cache stays true."""
        logger.error("a forward pass over %d sequences failed", len(plan), exc_info=error)
        message = t("the model failed while computing: {error}", error=f"{type(error).__name__}: {error}")
        for active in {sequence.output.active for sequence, _ in plan}:
            self.end(active, "error", message)

    # --- what comes out of a pass -----------------------------------------------------------------------------

    def _choice(self, parts: list[Part], now: float) -> Choice:
        """What the sampler will be asked: known before the logits are."""
        choice = Choice([], [], [], [])
        row = 0
        for part in parts:
            active = part.sequence.output.active
            if active.first_scheduled is None:
                active.first_scheduled = now
            row += part.scored
            if not part.choices:
                continue
            draft = part.sequence.draft
            for output in self._choosing(part.sequence):
                if output.grammar is not None:
                    choice.masks.append(MaskJob(output.grammar, len(choice.rows), draft))
                choice.states.append(output.sampling)
                choice.drafts.append(draft)
                choice.rows += range(row, row + part.choices)
            row += part.choices
        return choice

    def _take(self, parts: list[Part], choice: Choice, logits: torch.Tensor) -> None:
        """Choose tokens from the logits and move every sequence of the pass on."""
        now = time.monotonic()
        row = 0
        for part in parts:
            if part.scored:
                self._score_prompt(part.sequence, logits[row : row + part.scored])
            row += part.scored + part.choices
        if choice.rows != list(range(row)):  # some rows are about the prompt, or serve several outputs
            logits = logits[choice.rows]
        masks = self._mask_worker().collect() if choice.masks else None
        sampled = self.sampler.sample(logits, choice.states, drafts=choice.drafts, masks=masks)
        row = 0
        for part in parts:
            sequence = part.sequence
            if not part.choices:
                sequence.computed += part.length
                self.scheduler.advanced(sequence, caught_up=False)
            elif sequence.output.active.forked:
                self._decode(part, sampled, row)
                row += part.choices
            else:
                outputs = self._choosing(sequence)
                self._start(part, outputs, sampled, row, now)
                row += len(outputs)

    @staticmethod
    def _choosing(sequence: Sequence) -> list[Output]:
        """The outputs that take a token from a sequence's logits: all of the request when its prompt is done."""
        output = sequence.output
        if output.active.forked:
            return [output]
        return output.active.outputs if output.limit else []

    def _start(self, part: Part, outputs: list[Output], sampled: SampledBatch, row: int, now: float) -> None:
        """The prompt is computed: give every output its own sequence and its first token."""
        parent = part.sequence
        active = parent.output.active
        active.forked = True
        active.first_token = now
        parent.computed += part.length
        parent.rows_wanted_from = None
        parent.match_limit = parent.limit
        self.scheduler.advanced(parent, caught_up=True)
        for output in outputs[1:]:
            output.sequence = self._sequence(active, output, list(active.prompt_ids))
            self.scheduler.add_fork(parent, output.sequence)
        for index, output in enumerate(outputs):
            self._append(output, sampled, row + index, 1)
            self._settle(output)
        if not outputs:
            self.end(active, "length")

    def _decode(self, part: Part, sampled: SampledBatch, row: int) -> None:
        """Take the tokens of one output: its drafts as far as they are right, and one more."""
        sequence = part.sequence
        output = sequence.output
        accepted = 0
        draft = sequence.draft
        if draft:
            tokens = sampled.tokens
            while accepted < len(draft) and tokens[row + accepted] == draft[accepted]:
                accepted += 1
            output.active.proposed += len(draft)
            output.active.accepted += accepted
            sequence.draft = []
            if self.speculator is not None:
                self.speculator.verified(sequence, len(draft), accepted)
        computed = sequence.computed + part.length - len(draft) + accepted
        self._append(output, sampled, row, accepted + 1)
        sequence.computed = min(computed, len(sequence.tokens))  # fewer when a draft went beyond the end
        self.scheduler.advanced(sequence, caught_up=True)
        self._settle(output)

    def _append(self, output: Output, sampled: SampledBatch, row: int, count: int) -> None:
        """Give an output the tokens of ``count`` rows, up to the one that ends it."""
        sequence, grammar = output.sequence, output.grammar
        assert sequence is not None
        tokens, logprobs = sampled.tokens, sampled.logprobs
        for index in range(row, row + count):
            token = tokens[index]
            if token < 0:
                output.finish("error", error=sampled.failures[index])
                return
            sequence.tokens.append(token)
            self.output_tokens += 1
            if output.take(token, None if logprobs is None else logprobs[index]):
                return
            if grammar is not None:
                grammar.advance(token)
                if grammar.finished:
                    output.finish("stop")
                    return
        if grammar is not None and not output.sampling.wants_logprob:
            self._append_forced(output, sequence, grammar)

    def _append_forced(self, output: Output, sequence: Sequence, grammar: GrammarState) -> None:
        """Tokens that the grammar leaves no choice about need no logits; the next pass computes their rows."""
        for token in grammar.take_forced(output.limit - output.sampling.position):
            sequence.tokens.append(token)
            self.output_tokens += 1
            output.active.forced += 1
            if output.take(token):
                return
        if grammar.finished:
            output.finish("stop")

    def _settle(self, output: Output) -> None:
        if output.finish_reason is None:
            output.active.publish(output)
        else:
            self._close(output)

    def _score_prompt(self, sequence: Sequence, logits: torch.Tensor) -> None:
        """Log-probabilities of the tokens of the prompt that these rows (counts, vocabulary) are about."""
        active = sequence.output.active
        scores = active.prompt_logprobs
        top = active.request.sampling.prompt_logprobs
        assert scores is not None and top is not None
        first = len(scores)
        about = active.prompt_ids[first : first + logits.shape[0]]
        scores += token_logprobs(logits.cpu(), about, [top] * len(about))
        # Should the sequence lose its place, it goes on from here.
        sequence.rows_wanted_from = sequence.match_limit = len(scores) - 1
