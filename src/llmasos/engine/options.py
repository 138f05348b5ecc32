"""How much an engine does at once, and how large its cache is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmasos.engine.graphs.options import DecodeOptions
from llmasos.errors import InvalidRequest, OutOfMemory
from llmasos.hardware import available_memory
from llmasos.i18n import t
from llmasos.units import format_bytes

if TYPE_CHECKING:
    from llmasos.engine.runner import ModelRunner

CACHE_SHARE = 0.4
"""Part of the memory now available that the cache takes when no size is given."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How much an engine does at once."""

    max_batch_tokens: int = 512
    """Rows of one pass. More raises throughput of prompts, fewer shorten the pauses of streams meanwhile."""
    max_sequences: int = 64
    """Outputs computed at the same time."""
    aging_seconds: float = 30.0
    """Head start that one level of priority gives."""
    cache_bytes: int | None = None
    """Size of the key-value cache; ``None``: a share of the memory available, at most what can be used."""
    cache_limit: int | None = None
    """Most bytes that the cache takes where ``cache_bytes`` leaves its size open; ``None``: the share alone counts."""

    prompt_lookup: bool = True
    """Guess tokens from what a sequence repeats. Costs and gains are measured as it runs; outputs are the same."""

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    """How passes that only decode are run: as CUDA graphs, over static shapes, or eagerly."""

    def check(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidRequest: with all problems.
        """
        check_options(
            self,
            whole=("max_batch_tokens", "max_sequences", "cache_bytes", "cache_limit"),
            positive=("aging_seconds",),
            more=[
                t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value), allowed=allowed)
                for name, value, allowed in self.decode.problems()
            ],
        )


def check_options(
    options: object, *, whole: Sequence[str], positive: Sequence[str] = (), more: Sequence[str] = ()
) -> None:
    """Refuse options that cannot work.

    Args:
        whole: names of those that are whole numbers from 1, or ``None`` where they may be left open.
        positive: names of those that are numbers above 0.
        more: further problems, found elsewhere.

    Raises:
        InvalidRequest: with all problems.
    """
    values = [(name, getattr(options, name)) for name in (*whole, *positive)]
    lines = [
        t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value),
          allowed=t("a whole number from {low}", low=1) if name in whole else t("a number above 0"))
        for name, value in values
        if value is not None and not (value >= 1 if name in whole else value > 0)
    ]  # fmt: skip
    lines += more
    if lines:
        raise InvalidRequest(
            t("the options of the engine have {count} problem(s):", count=len(lines)) + "\n  " + "\n  ".join(lines)
        )


def cache_blocks(runner: ModelRunner, options: EngineOptions) -> int:
    """How many blocks the cache gets.

    Raises:
        OutOfMemory: less than one block.
    """
    available = available_memory(str(getattr(runner, "device", "cpu")))
    if options.cache_bytes is None:
        useful = options.max_sequences * -(-runner.context_length // runner.block_size)
        share = int(available * CACHE_SHARE)
        if options.cache_limit is not None:
            share = min(share, options.cache_limit)
        return min(_at_least_one(runner, share), useful)
    return _at_least_one(runner, options.cache_bytes)


def _at_least_one(runner: ModelRunner, size: int) -> int:
    blocks = size // runner.bytes_per_block
    if blocks < 1:
        raise OutOfMemory(
            t(
                "a key-value cache of {size} holds no block: one takes {block}",
                size=format_bytes(size),
                block=format_bytes(runner.bytes_per_block),
            ),
            needed=runner.bytes_per_block,
            available=size,
            hint=t("Give the engine a larger cache."),
        )
    return blocks
