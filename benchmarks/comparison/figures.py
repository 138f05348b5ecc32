"""Medians, spreads, ratios and ceilings from the raw runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from comparison.contestants import Contestant
from comparison.scenarios import Scenario


@dataclass
class Sample:
    """One process: a contestant with one setting in one repetition."""

    repetition: int
    setting: dict[str, Any]
    report: dict[str, Any]
    outputs: list[list[list[int]]]
    """Tokens by run and stream."""

    def rates(self, scenario: Scenario) -> list[float]:
        """Tokens per second of each run."""
        return [rate(run, scenario) for run in self.report["runs"]]


def rate(run: dict[str, Any], scenario: Scenario) -> float:
    if scenario.counts == "prompt":
        return float(run["prompt_tokens"] / run["first_token"]["max"])
    return float(run["output_tokens"] / run["seconds"])


@dataclass
class Row:
    """Everything about a contestant in a scenario."""

    contestant: Contestant
    scenario: Scenario
    samples: list[Sample] = field(default_factory=list)
    error: str | None = None

    def of_setting(self, setting: dict[str, Any]) -> list[Sample]:
        return [sample for sample in self.samples if sample.setting == setting]

    def setting_rate(self, setting: dict[str, Any]) -> float:
        found = [value for sample in self.of_setting(setting) for value in sample.rates(self.scenario)]
        return statistics.median(found) if found else 0.0

    def worth_repeating(self) -> list[dict[str, Any]]:
        """Settings that are the best one or so close to it that noise may decide between them."""
        best = max(map(self.setting_rate, self.contestant.settings), default=0.0)
        return [setting for setting in self.contestant.settings if self.setting_rate(setting) >= 0.9 * best > 0]

    @property
    def best_setting(self) -> dict[str, Any]:
        return max(self.contestant.settings, key=self.setting_rate)

    @property
    def best(self) -> list[Sample]:
        """The samples of the best setting."""
        return self.of_setting(self.best_setting) if self.samples else []

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [run for sample in self.best for run in sample.report["runs"]]

    @property
    def rate(self) -> float | None:
        """Median tokens per second."""
        return self.setting_rate(self.best_setting) if self.samples else None

    def median(self, pick: Callable[[dict[str, Any]], float | None]) -> float | None:
        """Of a figure of the runs."""
        found = [value for value in map(pick, self.runs) if value is not None]
        return statistics.median(found) if found else None

    def report_median(self, name: str) -> float | None:
        found = [float(sample.report[name]) for sample in self.best]
        return statistics.median(found) if found else None

    def ceiling(self, bandwidth: float | None) -> float | None:
        """Output tokens per second if reading weights and cache once per pass were all: no engine that computes one
        token of each stream per pass can be faster than memory."""
        if not bandwidth or not self.samples or self.scenario.counts == "prompt" or self.contestant.speculates:
            return None
        report = self.best[0].report
        streams = 1 if self.scenario.kind == "adapters" and not self.contestant.engine.ours else self.scenario.streams
        run = report["runs"][0]
        context = (run["prompt_tokens"] + run["output_tokens"] / 2) / self.scenario.streams
        read = report["weight_bytes"] + streams * context * report["cache_bytes_per_token"]
        return float(streams * bandwidth / read)

    def ratio(self, other: Row) -> dict[str, float] | None:
        """How many times as fast as ``other``: compared within each repetition, as the machine's speed drifts."""
        found = []
        for repetition in sorted({sample.repetition for sample in self.best}):
            mine, theirs = (
                [
                    value
                    for sample in row.best
                    if sample.repetition == repetition
                    for value in sample.rates(row.scenario)
                ]
                for row in (self, other)
            )
            if mine and theirs:
                found.append(statistics.median(mine) / statistics.median(theirs))
        if not found:
            return None
        return {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}

    def agreement(self, reference: Row | None) -> float | None:
        """Part of the greedy tokens, up to the first that differs, that are those of ``reference`` on the same prompts.

        Quantised weights part from it somewhere in most outputs; a program that computes something else parts at once.
        """
        if reference is None or reference is self or not self.samples or not reference.samples:
            return None
        shares = []
        for mine, theirs in zip(self.samples[0].outputs, reference.samples[0].outputs, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                length = min(len(one), len(other))
                same = next((at for at in range(length) if one[at] != other[at]), length)
                shares.append(same / max(length, 1))
        return statistics.mean(shares)

    def as_dict(self, bandwidth: float | None, reference: Row | None) -> dict[str, Any]:
        """For the result file: raw values and what was made of them."""
        found: dict[str, Any] = {"engine": self.contestant.engine.name, "row": self.contestant.label}
        if self.error is not None:
            found["error"] = self.error
        if self.samples:
            found |= {
                "setting": self.best_setting,
                "tokens_per_second": self.rate,
                "decode_tokens_per_second": self.median(lambda run: run["decode_rate"]),
                "first_token_seconds": self._percentiles("first_token", ("p50", "p95")),
                "pause_seconds": self._percentiles("pause", ("p50", "p95", "p99")),
                "peak_memory_bytes": self.report_median("peak_memory"),
                "start_seconds": self.report_median("start_seconds"),
                "ceiling_tokens_per_second": self.ceiling(bandwidth),
                "same_tokens": self.agreement(reference),
                "samples": [
                    {
                        "repetition": sample.repetition,
                        "setting": sample.setting,
                        "tokens_per_second": sample.rates(self.scenario),
                        **{key: value for key, value in sample.report.items() if key not in ("settings", "version")},
                    }
                    for sample in self.samples
                ],
            }
        return found

    def _percentiles(self, name: str, shares: Iterable[str]) -> dict[str, float | None]:
        return {share: self.median(lambda run, share=share: run[name][share]) for share in shares}  # type: ignore[misc]


def reference_of(rows: list[Row]) -> Row | None:
    """The row whose outputs the others are compared with: the one with the most exact weights."""
    found = [row for row in rows if row.samples]
    return max(found, key=lambda row: row.contestant.engine.bits, default=None)


def best_peer(rows: list[Row], *, bits: int | None = None, speculation: bool) -> Row | None:
    """The fastest row that is not ours, of ``bits`` bits a weight; ``speculation`` says whether such rows count."""
    found = [
        row
        for row in rows
        if not row.contestant.engine.ours
        and row.samples
        and bits in (None, row.contestant.engine.bits)
        and (speculation or not row.contestant.speculates)
    ]
    return max(found, key=lambda row: row.rate or 0.0, default=None)


def ratios(rows: list[Row]) -> list[dict[str, Any]]:
    """Each row of ours against the best peer with 8-bit weights, with 4-bit weights, and of all."""
    found = []
    for row in rows:
        if not row.contestant.engine.ours or not row.samples:
            continue
        classes = [("best 8-bit peer", 8), ("best 4-bit peer", 4), ("best peer", None)]
        for against, bits in classes[2:] if row.contestant.speculates else classes:
            peer = best_peer(rows, bits=bits, speculation=row.contestant.speculates)
            ratio = row.ratio(peer) if peer is not None else None
            if peer is not None and ratio is not None:
                found.append({"row": row.contestant.label, "against": against, "peer": peer.contestant.label, **ratio})
        if row.contestant.speculates:
            plain = next((other for other in rows if other.contestant.label == row.contestant.engine.name), None)
            ratio = row.ratio(plain) if plain is not None else None
            if plain is not None and ratio is not None:
                found.append({"row": row.contestant.label, "against": "without speculation",
                              "peer": plain.contestant.label, **ratio})  # fmt: skip
    return found
