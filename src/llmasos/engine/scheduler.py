"""Who computes what in the next pass.

Every pass is one mixed batch: all decoding sequences first, a row each (more with drafts), then chunks of prompts
up to a token budget, so that no stream stalls while a long prompt loads.

Order of service is a rank: the time of arrival, moved forward by ``aging`` seconds for each level of priority. The
order of two requests never changes, so whoever waits is overtaken only by requests that arrive within a bounded
time: low priorities cannot starve, and the first in rank can always take the room of all others, so somebody always
gets on. Prompts share the budget: half goes to the first in rank, the rest to those with the least left.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Hashable, Iterator
from itertools import count
from operator import attrgetter

from llmasos.engine.cache import KVCacheManager
from llmasos.engine.radix import Node
from llmasos.engine.sequence import Sequence, State

_rank = attrgetter("rank")

DECODE_ROWS = 16
"""A sequence with more pending tokens than this (forced by a grammar) goes on as a prompt does, within the budget."""

PARALLEL_PREFILLS = 4
"""Prompts that are worked on at once though the budget is used up, so that short ones pass long ones."""

PREFILL_SHARE = 8
"""However many rows decoding takes, at least this part of the token budget is left for prompts."""

PROMPT_LOGITS_ROWS = 64
"""Rows of one chunk when the logits of every row are wanted; they take ``vocabulary x 4`` bytes each."""


class Scheduler:
    """Queues, admission, preemption and the choice of rows. Used by the inference thread only."""

    def __init__(
        self, cache: KVCacheManager, *, max_batch_tokens: int = 512, max_sequences: int = 64, aging: float = 30.0
    ) -> None:
        self.cache = cache
        self.max_batch_tokens = max_batch_tokens
        self.max_sequences = max_sequences
        self.aging = aging
        self.decoding: list[Sequence] = []
        self.prefilling: list[Sequence] = []
        self.preemptions = 0
        self._waiting: list[tuple[tuple[float, int], int, Sequence]] = []
        self._serial = count()
        self._following = 0
        self._finished_in_queue = 0
        # First block of tokens -> sequences that are computing a prompt with this beginning.
        self._leaders: dict[tuple[Hashable, tuple[int, ...]], list[Sequence]] = {}

    # --- what is where ----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Sequences that have a place in the cache."""
        return len(self.decoding) + len(self.prefilling)

    @property
    def waiting(self) -> int:
        """Sequences that have none."""
        return len(self._waiting) - self._finished_in_queue + self._following

    def __bool__(self) -> bool:
        return bool(self.decoding or self.prefilling or self._waiting)

    # --- coming and going -------------------------------------------------------------------------------------

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence (its rank still has the bare time of arrival)."""
        arrival, serial = sequence.rank
        sequence.rank = (arrival - sequence.priority * self.aging, serial)
        self._queue(sequence)

    def add_fork(self, parent: Sequence, child: Sequence) -> None:
        """Let ``child`` go on from what ``parent`` has computed; it queues when there is no room now."""
        child.rank = (parent.rank[0], child.id)
        if self.running < self.max_sequences and self.cache.fork(parent, child):
            child.state = State.DECODE
            insort(self.decoding, child, key=_rank)
        else:
            self._queue(child)

    def remove(self, sequence: Sequence, *, forget: bool = False) -> None:
        """Drop a sequence that is finished or cancelled, whatever its state; its blocks are free at once.

        ``forget``: what it computed is not to be trusted and leaves the prefix cache, as far as nobody shares it.
        """
        state = sequence.state
        if state is State.DECODE:
            self.decoding.remove(sequence)
        elif state is State.PREFILL:
            self._leave_prefill(sequence)
        elif state is State.WAITING:
            if sequence.followed_until:
                self._following -= 1
            else:
                self._finished_in_queue += 1
        sequence.state = State.FINISHED
        self.cache.release(sequence, forget=forget)
        if self._finished_in_queue > 64 and 2 * self._finished_in_queue > len(self._waiting):
            self._waiting = [entry for entry in self._waiting if entry[2].state is State.WAITING]
            heapq.heapify(self._waiting)
            self._finished_in_queue = 0

    def advanced(self, sequence: Sequence, *, caught_up: bool) -> None:
        """Take note that a pass has computed rows of ``sequence`` and its ``computed`` counts them.

        ``caught_up``: all tokens known before the pass are computed, so the sequence goes on token by token.
        """
        self.cache.commit(sequence)
        if sequence.state is State.PREFILL:
            if caught_up:
                self._leave_prefill(sequence)
                sequence.state = State.DECODE
                insort(self.decoding, sequence, key=_rank)
            elif sequence.followers:
                self._wake_followers(sequence, sequence.computed)

    # --- one pass ---------------------------------------------------------------------------------------------

    def schedule(self, propose: Callable[[Sequence], list[int]] | None = None) -> list[tuple[Sequence, int]]:
        """Choose the rows of the next pass.

        ``propose`` gives draft tokens for a decoding sequence (none is fine); they are kept in ``sequence.draft``
        if there is room to verify them.

        Returns:
            (sequence, rows) in batch order. Rows include the drafts. The block tables cover them.
        """
        if self._waiting:  # first of all, because it may preempt
            self._admit(self._prefill_budget(len(self.decoding)))
        plan: list[tuple[Sequence, int]] = []
        size = self.cache.block_size
        rows = index = 0
        decoding = self.decoding
        while index < len(decoding):
            sequence = decoding[index]
            draft = sequence.draft = propose(sequence) if propose is not None else []
            needed = len(sequence.tokens) + len(draft)
            if needed > len(sequence.table) * size:
                if draft and not self.cache.reserve(sequence, needed):
                    sequence.draft = []  # not worth anybody's place
                    needed = len(sequence.tokens)
                if not self._reserve_or_preempt(sequence, needed):
                    continue  # it gave up its own place and is no longer in the list
            length = len(sequence.tokens) - sequence.computed + len(sequence.draft)
            if length > DECODE_ROWS + len(sequence.draft):
                sequence.draft = []
                del decoding[index]
                sequence.state = State.PREFILL
                self._enter_prefill(sequence)
                continue
            plan.append((sequence, length))
            rows += length
            index += 1
        if self.prefilling:
            self._plan_prefills(plan, self._prefill_budget(rows))
        return plan

    def expected_prefill(self) -> int:
        """About how many rows of the next pass will belong to prompts."""
        if not self.prefilling and not self._waiting:
            return 0
        known = sum(sequence.pending for sequence in self.prefilling)
        new = len(self._waiting[0][2].tokens) if self._waiting and self.running < self.max_sequences else 0
        return min(known + new, self._prefill_budget(len(self.decoding)))

    def _prefill_budget(self, decode_rows: int) -> int:
        return max(self.max_batch_tokens - decode_rows, self.max_batch_tokens // PREFILL_SHARE, 1)

    def _plan_prefills(self, plan: list[tuple[Sequence, int]], budget: int) -> None:
        working: list[Sequence] = []
        claimed: set[tuple[Node, tuple[int, ...]]] = set()
        for sequence in self.prefilling:
            self.cache.adopt(sequence)
            block = self.cache.next_block(sequence)
            if block is None or block not in claimed:
                working.append(sequence)
            if block is not None:
                claimed.add(block)  # whoever is at the same place waits for one pass and adopts what this one computes
        first, *others = working
        others.sort(key=lambda sequence: sequence.pending)
        left = budget - min(first.pending, (budget + 1) // 2)
        chunks: dict[Sequence, int] = {}
        for sequence in others:
            chunks[sequence] = min(sequence.pending, left)
            left -= chunks[sequence]
        chunks[first] = budget - sum(chunks.values())
        for sequence in working:
            length = self._chunk(sequence, chunks[sequence])
            if length:
                plan.append((sequence, length))

    def _chunk(self, sequence: Sequence, budget: int) -> int:
        """Rows of the next chunk: what is left, else up to a border between blocks if the budget reaches one."""
        if sequence.rows_wanted_from is not None:
            budget = min(budget, PROMPT_LOGITS_ROWS)
        pending = sequence.pending
        if pending <= budget:
            return pending
        beyond = (sequence.computed + budget) % self.cache.block_size
        return budget - beyond if beyond < budget else budget

    # --- admission --------------------------------------------------------------------------------------------

    def _admit(self, budget: int) -> None:
        work = sum(sequence.pending for sequence in self.prefilling)
        while self._waiting and (work < budget or len(self.prefilling) < PARALLEL_PREFILLS):
            sequence = self._waiting[0][2]
            if sequence.state is not State.WAITING:
                heapq.heappop(self._waiting)
                self._finished_in_queue -= 1
                continue
            if self._leaders and self._follow(sequence):
                heapq.heappop(self._waiting)
                continue
            full = self.running >= self.max_sequences
            if full or not self._fits(sequence):
                if not self._preempt_for(sequence, full):
                    return
                continue
            heapq.heappop(self._waiting)
            sequence.state = State.PREFILL
            if not sequence.preemptions and len(sequence.tokens) == sequence.prompt_length:
                sequence.cached = sequence.computed
            self._enter_prefill(sequence)
            work += sequence.pending

    def _fits(self, sequence: Sequence) -> bool:
        """Admit by real need: blocks for what is known, and one to grow for everybody who runs."""
        reserve = self.running
        if sequence.blocks_wanted > self.cache.available and reserve:
            return False  # it did not fit before, and there is not more room now
        return self.cache.admit(sequence, reserve)

    def _preempt_for(self, sequence: Sequence, only_slots: bool) -> bool:
        """Put back one running sequence of lower priority, if that can make room for ``sequence``."""
        victims = [
            other
            for other in (*self.decoding, *self.prefilling)
            if other.priority < sequence.priority and other.rank > sequence.rank
        ]
        if not victims:
            return False
        if not only_slots:
            gain = sum(len(victim.table) + 1 for victim in victims)
            if self.cache.available + gain < sequence.blocks_wanted:
                return False
        self._preempt(max(victims, key=_rank))
        sequence.blocks_wanted = 0
        return True

    # --- prefixes in the making -------------------------------------------------------------------------------

    def _leader_key(self, sequence: Sequence) -> tuple[Hashable, tuple[int, ...]] | None:
        size = self.cache.block_size
        if len(sequence.tokens) <= size:
            return None
        return sequence.namespace, tuple(sequence.tokens[:size])

    def _enter_prefill(self, sequence: Sequence) -> None:
        insort(self.prefilling, sequence, key=_rank)
        key = sequence.leader_key = self._leader_key(sequence)
        if key is not None:
            self._leaders.setdefault(key, []).append(sequence)

    def _leave_prefill(self, sequence: Sequence) -> None:
        self.prefilling.remove(sequence)
        key = sequence.leader_key
        if key is not None:
            leaders = self._leaders[key]
            leaders.remove(sequence)
            if not leaders:
                del self._leaders[key]
        self._wake_followers(sequence, sequence.limit)

    def _follow(self, sequence: Sequence) -> bool:
        """Let a waiting sequence wait for a prefix that a sequence before it is computing just now."""
        key = self._leader_key(sequence)
        if key is None:
            return False
        size = self.cache.block_size
        best, best_leader = 0, None
        for leader in self._leaders.get(key, ()):
            if leader.rank > sequence.rank:
                continue  # it may have to wait itself; should it be first, `adopt` takes what it has computed
            most = min(len(sequence.tokens) - 1, len(leader.tokens), sequence.match_limit) // size * size
            common = _common_prefix(sequence.tokens, leader.tokens, most) // size * size
            if common > max(best, leader.computed):
                best, best_leader = common, leader
        if best_leader is None:
            return False
        sequence.followed_until = best
        best_leader.followers.append(sequence)
        self._following += 1
        return True

    def _wake_followers(self, leader: Sequence, computed: int) -> None:
        still = []
        for sequence in leader.followers:
            if sequence.state is not State.WAITING:
                continue  # cancelled in the meantime
            if sequence.followed_until > computed:
                still.append(sequence)
                continue
            self._following -= 1
            sequence.followed_until = 0
            self._queue(sequence)
        leader.followers = still

    # --- preemption -------------------------------------------------------------------------------------------

    def _reserve_or_preempt(self, sequence: Sequence, tokens: int) -> bool:
        """Make room for a running sequence, at the cost of those after it; ``False`` if it was itself the last."""
        while not self.cache.reserve(sequence, tokens):
            victim = max(self._last_ranked(), key=_rank)
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _last_ranked(self) -> Iterator[Sequence]:
        if self.decoding:
            yield self.decoding[-1]
        if self.prefilling:
            yield self.prefilling[-1]

    def _preempt(self, sequence: Sequence) -> None:
        """Take a sequence's place in the cache; it starts again later, mostly from prefixes still there."""
        if sequence.state is State.DECODE:
            self.decoding.remove(sequence)
        else:
            self._leave_prefill(sequence)
        sequence.state = State.WAITING
        sequence.preemptions += 1
        self.preemptions += 1
        self.cache.release(sequence)
        self._queue(sequence)

    def _queue(self, sequence: Sequence) -> None:
        heapq.heappush(self._waiting, (sequence.rank, next(self._serial), sequence))


def _common_prefix(left: list[int], right: list[int], most: int) -> int:
    """Length of the common beginning, at most ``most``; slices are compared at the speed of C."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
