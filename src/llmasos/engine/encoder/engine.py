"""The engine of encoders: the texts of all callers share batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.engine.encoder.core import ActiveInput, EncoderCore
from llmasos.engine.encoder.grouping import Length
from llmasos.engine.intake import Edges, check_task, fit_input
from llmasos.engine.options import check_options
from llmasos.engine.request import Request
from llmasos.engine.service import Emit, Service, ServiceStats
from llmasos.engine.task import Classify, Embed
from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.backend import EncoderInput

if TYPE_CHECKING:
    from llmasos.modeling.backend import EncoderNetwork


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How much an encoder computes at once."""

    max_batch_tokens: int = 16_384
    """Tokens of one pass, padding counted; bounds the memory of activations."""
    max_batch_rows: int = 64
    """Texts of one pass."""
    aging_seconds: float = 30.0
    """Head start that one level of priority gives."""

    def check(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidRequest: with all problems.
        """
        check_options(self, whole=("max_batch_tokens", "max_batch_rows"), positive=("aging_seconds",))


@dataclass(frozen=True, slots=True)
class EncoderStats(ServiceStats):
    """The engine of an encoder; ``rows`` include padding, so ``prompt_tokens / rows`` says how full the passes are."""

    texts: int
    """Texts computed."""


class EncoderEngine(Service[ActiveInput]):
    """Serves one encoder with one inference thread. All methods may be called from any thread."""

    def __init__(
        self, network: EncoderNetwork, *, edges: Edges | None = None, options: EncoderOptions | None = None
    ) -> None:
        """Start the thread.

        Args:
            network: the model; the engine closes it.
            edges: special tokens around a text, which truncation keeps.
            options: limits.
        """
        options = options or EncoderOptions()
        options.check()
        self._network = network
        self._edges = edges or Edges()
        self._task: type[Embed | Classify] = Embed if network.task == "embed" else Classify
        self._core = EncoderCore(
            network,
            most_tokens=options.max_batch_tokens,
            most_rows=options.max_batch_rows if network.batchable else 1,
            aging=options.aging_seconds,
        )
        super().__init__(self._core)

    def stats(self) -> EncoderStats:
        """Counters and gauges, read without stopping the engine."""
        core = self._core
        return EncoderStats(
            running=core.running, waiting=len(core.line), requests=self._requests, passes=core.passes, rows=core.rows,
            prompt_tokens=core.prompt_tokens, output_tokens=0, texts=core.texts,
        )  # fmt: skip

    def _prepare(self, request: Request, emit: Emit) -> ActiveInput:
        network, task = self._network, request.task
        request.check(network.vocabulary_size)
        check_task(request, self._task)
        assert isinstance(task, Embed | Classify)
        if task.type_ids and len(task.type_ids) != len(request.prompt_ids):
            raise InvalidRequest(
                t("type_ids has {count} entries and the prompt {tokens} tokens", count=len(task.type_ids),
                  tokens=len(request.prompt_ids)),
                hint=t("Correct the values and send the request again."),
            )  # fmt: skip
        ids, places = fit_input(request, network.limit, self._edges)
        type_ids = [task.type_ids[place] for place in places] if task.type_ids else ()
        if isinstance(task, Embed):
            if task.dimensions is not None:
                from llmasos.modeling.embedding import check_dimensions

                check_dimensions(task.dimensions, network.width)
            unpooled = sum(place < task.unpooled_tokens for place in places)
            item = EncoderInput(ids, type_ids, unpooled, task.dimensions, task.normalize)
        else:
            item = EncoderInput(ids, type_ids)
        return ActiveInput(
            request, self._name(request), item, Length(len(ids), network.kind(ids), task.batch_rows),
            truncated=len(request.prompt_ids) - len(ids), emit=emit,
        )  # fmt: skip
