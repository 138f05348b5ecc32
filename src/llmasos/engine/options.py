"""How much an engine does at once, and how large its cache is."""

from __future__ import annotations

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
        lines = [
            t("{name} = {value}: allowed is {allowed}", name=name, value=repr(getattr(self, name)), allowed=allowed)
            for name, allowed, good in (
                ("max_batch_tokens", t("a whole number from {low}", low=1), self.max_batch_tokens >= 1),
                ("max_sequences", t("a whole number from {low}", low=1), self.max_sequences >= 1),
                ("aging_seconds", t("a number above 0"), self.aging_seconds > 0),
                (
                    "cache_bytes",
                    t("a whole number from {low}", low=1),
                    self.cache_bytes is None or self.cache_bytes >= 1,
                ),
                (
                    "cache_limit",
                    t("a whole number from {low}", low=1),
                    self.cache_limit is None or self.cache_limit >= 1,
                ),
            )
            if not good
        ]
        lines += [
            t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value), allowed=allowed)
            for name, value, allowed in self.decode.problems()
        ]
        if lines:
            raise InvalidRequest(
                t("the options of the engine have {count} problem(s):", count=len(lines)) + "\n  " + "\n  ".join(lines)
            )


def _is_none_or_positive(value: int | None) -> bool:
    return value is None or value >= 1


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
