"""Any encoder-decoder model of transformers, stepped by the engine.

The model's own code computes everything; only the decoder's cache is ours. Whether its rows may have different lengths
is found out when it is loaded: a few outputs that join and leave must get the logits that the model gives for each
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from llmasos.engine.core import RUNNER_FAULTS
from llmasos.engine.encoder_decoder.cache import CommonBatch, RaggedBatch, Started, bytes_of
from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# Relative difference of the logits that rounding explains; sharp attention amplifies it, a wrong position is far above.
_TOLERANCE = {"float32": 5e-3, "bfloat16": 6e-2, "float16": 2e-2}
_PROBE_SOURCES = (7, 3, 10)  # tokens of the prompts of the self-check


class EncoderDecoderRunner:
    """A model and the cache of its live outputs. All methods belong to one thread."""

    def __init__(self, model: PreTrainedModel, *, name: str, start_id: int, pad_id: int, limit: int | None) -> None:
        """Take over a loaded model and find out how its decoder can be batched.

        Args:
            name: of the model, for messages.
            start_id: the token that every output begins after.
            pad_id: fills up shorter prompts.
            limit: longest prompt in tokens.

        Raises:
            Unsupported: not even outputs that start together get the model's own logits.
        """
        self._model = cast(Any, model)
        self._model.eval()
        self._start_id, self._pad_id = start_id, pad_id
        self.vocabulary_size = int(self._model.get_input_embeddings().weight.shape[0])
        self.device = str(model.device)
        self.precision = str(model.dtype).removeprefix("torch.")
        self._batch: RaggedBatch | CommonBatch
        self.output_bytes = self.prompt_bytes = 0
        problems = []
        candidates: tuple[RaggedBatch | CommonBatch, ...] = (
            RaggedBatch("rows"), RaggedBatch("shared"), CommonBatch()
        )  # fmt: skip
        expected = self._expected(limit)
        for candidate in candidates:
            self._batch = candidate
            try:
                difference = self._check(expected)
            except RUNNER_FAULTS as error:
                problems.append(f"{type(error).__name__}: {error}".splitlines()[0][:200])
                continue
            if difference <= _TOLERANCE[self.precision]:
                break
            problems.append(t("its logits differ by {difference} from the model's own", difference=f"{difference:.1%}"))
        else:
            raise Unsupported(
                t("{model} does not fit the engine of encoder-decoder models: {reason}", model=name,
                  reason=problems[-1])
            )  # fmt: skip
        self._batch.clear()
        if not self.joins:
            logger.warning(
                "%s: requests cannot join a running batch (%s); those that wait start together when it has ended",
                name, problems[0],
            )  # fmt: skip

    @property
    def joins(self) -> bool:
        """Whether requests may join a running batch."""
        return self._batch.joins

    @property
    def rows(self) -> int:
        """Live outputs."""
        return self._batch.rows

    @property
    def description(self) -> str:
        """How the model is run, for people."""
        return f"transformers, {self.precision}"

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]]) -> Started:
        """Read prompts and compute the logits of the first token of their outputs. Joins nothing yet."""
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
            mask[row, : len(prompt)] = 1
        out = self._model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            decoder_input_ids=torch.full((len(prompts), 1), self._start_id, device=self.device),
            use_cache=True,
        )
        return Started(
            out.logits[:, -1].float(), out.past_key_values, out.encoder_last_hidden_state, list(map(len, prompts))
        )

    @torch.inference_mode()
    def join(self, started: Started, picks: Sequence[int]) -> None:
        """Make live one row per entry of ``picks``: the prompt that it goes on from."""
        self._batch.join(started, picks)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Take the latest token of every row; (rows, vocabulary) float32 logits of the next."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        out = self._model(decoder_input_ids=ids, use_cache=True, **self._batch.arguments())
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    @torch.inference_mode()
    def keep(self, order: Sequence[int]) -> None:
        """Drop all rows but those in ``order``; see :meth:`~.cache.RaggedBatch.keep`."""
        self._batch.keep(order)

    def clear(self) -> None:
        """Drop all rows and the memory of their cache."""
        self._batch.clear()

    def close(self) -> None:
        """Free the weights."""
        self._batch.clear()
        self._model = None

    # --- the self-check ---------------------------------------------------------------------------------------

    def _probe(self, limit: int | None) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts, and the tokens of an output for each."""
        special = {self._start_id, self._pad_id}
        usual = [token for token in range(min(self.vocabulary_size, 1000)) if token not in special]
        usual = usual[len(usual) // 10 :]  # special tokens are among the first
        numbers = [usual[(index * 7919 + 11) % len(usual)] for index in range(sum(_PROBE_SOURCES) + 18)]
        lengths = [min(length, limit or length) for length in _PROBE_SOURCES]
        prompts = [numbers[begin : begin + length] for begin, length in zip((0, 7, 10), lengths, strict=True)]
        return prompts, [numbers[20 + 6 * row : 26 + 6 * row] for row in range(len(prompts))]

    @torch.inference_mode()
    def _expected(self, limit: int | None) -> list[torch.Tensor]:
        """The model's own logits after each token of each output, one output at a time, without a cache."""
        self._prompts, self._outputs = self._probe(limit)
        found = []
        for prompt, tokens in zip(self._prompts, self._outputs, strict=True):
            out = self._model(
                input_ids=torch.tensor([prompt], device=self.device),
                decoder_input_ids=torch.tensor([[self._start_id, *tokens]], device=self.device),
                use_cache=False,
            )
            found.append(out.logits[0].float().cpu())
        return found

    def _check(self, expected: list[torch.Tensor]) -> float:
        """Relative difference from ``expected`` when outputs join (if they can) and leave between steps."""
        prompts, outputs = self._prompts, self._outputs
        taken = [0] * len(prompts)  # tokens that each output has given to the model
        live: list[int] = []
        worst = 0.0

        def note(row: int, logits: torch.Tensor) -> None:
            nonlocal worst
            wanted = expected[row][taken[row]]
            worst = max(worst, float((logits.cpu() - wanted).norm() / wanted.norm()))

        def arrive(rows: list[int]) -> None:
            started = self.start([prompts[row] for row in rows])
            self.output_bytes, self.prompt_bytes = bytes_of(started.cache)
            for row, logits in zip(rows, started.logits, strict=True):
                note(row, logits)
            self.join(started, range(len(rows)))
            live.extend(rows)

        def advance(steps: int) -> None:
            for _ in range(steps):
                tokens = [outputs[row][taken[row]] for row in live]
                for row in live:
                    taken[row] += 1
                for row, logits in zip(live, self.step(tokens), strict=True):
                    note(row, logits)

        if self.joins:
            arrive([0])
            advance(2)
            arrive([1, 2])
            advance(3)
        else:
            arrive([0, 1, 2])
            advance(4)
        self.keep([2, 1])
        live[:] = [2, 1]
        advance(1)
        return worst
