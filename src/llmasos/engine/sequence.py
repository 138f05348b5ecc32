"""One output in the making: its tokens, where their keys and values lie, and how far it is."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmasos.engine.output import Output
    from llmasos.engine.radix import Node


class State(Enum):
    """Where a sequence is in its life."""

    WAITING = "waiting"
    """In the queue: new, preempted, or until another sequence has computed a prefix that both share."""
    PREFILL = "prefill"
    """Admitted; more of its tokens are known than computed."""
    DECODE = "decode"
    """One token at a time."""
    FINISHED = "finished"


class Sequence:
    """Tokens and cache bookkeeping of one output. Owned by the inference thread.

    ``tokens[:computed]`` have their keys and values in the blocks of ``table``. The first ``node.depth`` blocks of
    the table are the radix tree's, shared and never written; the others are this sequence's own.
    """

    __slots__ = (
        "adapter",
        "blocks_wanted",
        "cached",
        "computed",
        "draft",
        "followed_until",
        "followers",
        "id",
        "leader_key",
        "limit",
        "match_limit",
        "namespace",
        "node",
        "output",
        "preemptions",
        "priority",
        "prompt_length",
        "rank",
        "rows_wanted_from",
        "state",
        "steering",
        "table",
        "tokens",
    )

    def __init__(
        self,
        identity: int,
        tokens: list[int],
        *,
        limit: int,
        priority: int = 0,
        arrival: float = 0.0,
        adapter: str | None = None,
        steering: object | None = None,
        namespace: Hashable = None,
    ) -> None:
        self.id = identity
        self.tokens = tokens
        """Prompt and output so far, without draft tokens."""
        self.prompt_length = len(tokens)
        self.limit = limit
        """Most tokens the sequence may come to have, prompt and output together."""
        self.priority = priority
        self.rank: tuple[float, int] = (arrival, identity)
        """Order of service, lowest first; the scheduler sets it when the sequence is added."""
        self.adapter = adapter
        self.steering = steering
        self.namespace = namespace
        """What besides the tokens decides keys and values."""
        self.state = State.WAITING
        self.computed = 0
        self.table: list[int] = []
        self.node: Node | None = None
        """Deepest node of the radix tree that this sequence holds; ``None`` while it has no place in the cache."""
        self.match_limit = limit
        """Only this many tokens may be taken from the cache instead of being computed."""
        self.rows_wanted_from: int | None = None
        """First position whose logits are wanted during prefill (log-probabilities of the prompt)."""
        self.cached = 0
        """Tokens of the prompt that were found in the cache when the sequence first started."""
        self.preemptions = 0
        self.draft: list[int] = []
        """Tokens proposed after ``tokens`` that the next pass verifies."""
        self.followers: list[Sequence] = []
        """Waiting sequences that share a prefix which this one is computing."""
        self.leader_key: tuple[Hashable, tuple[int, ...]] | None = None
        """Under which beginning the scheduler lists this sequence while it computes a prompt."""
        self.followed_until = 0
        """As a follower: how many tokens the leader must have computed."""
        self.blocks_wanted = 0
        """Blocks that were missing when admission last failed; 0 when it has not."""
        self.output: Output

    @property
    def pending(self) -> int:
        """Tokens that are known and not computed."""
        return len(self.tokens) - self.computed

    def __repr__(self) -> str:
        return (
            f"<Sequence {self.id} {self.state.value}: {self.prompt_length} + {len(self.tokens) - self.prompt_length} "
            f"tokens, {self.computed} computed, {len(self.table)} blocks>"
        )
