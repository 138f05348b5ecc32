"""Bounds that scores must keep, for automatic checks, and JUnit XML for the programs that show such checks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from llmasos.errors import InvalidRequest, NotFound, ScoreOutOfBounds, did_you_mean
from llmasos.evaluation.reports.rows import figure
from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.i18n import t

_FORM = re.compile(r"(?:(?P<task>[A-Za-z0-9][A-Za-z0-9._-]*):)?(?P<metric>[^=]+)=(?P<value>[^=]+)")
# Characters that XML 1.0 does not allow even as references.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Bound:
    """A score that must be reached. One of which less is better must not be exceeded."""

    metric: str
    value: float
    task: str | None = None
    """``None``: on every task that has this score."""

    @classmethod
    def parse(cls, text: str) -> Bound:
        """``METRIC=VALUE`` or ``TASK:METRIC=VALUE``.

        Raises:
            InvalidRequest: it is neither.
        """
        match = _FORM.fullmatch(text.strip())
        try:
            value = float(match["value"]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or not math.isfinite(value):
            raise InvalidRequest(
                t("--fail-under {text}: this is no bound of a score", text=text),
                hint=t("Write METRIC=VALUE or TASK:METRIC=VALUE, such as accuracy=0.6 or gsm8k:accuracy=0.3."),
            )
        return cls(match["metric"].strip(), value, match["task"])


@dataclass(frozen=True)
class Check:
    """A bound on one task."""

    evaluation: Evaluation
    metric: str
    bound: float
    entry: ScoreEntry | None
    """``None``: the task has no scores at all, for every sample failed."""

    @property
    def passed(self) -> bool:
        """Whether the score keeps the bound; one that is not defined does not."""
        if self.entry is None:
            return False
        value = self.entry.value
        return value >= self.bound if self.entry.higher_is_better else value <= self.bound

    @property
    def message(self) -> str:
        """What was found, in words."""
        if self.entry is None:
            return t("{task}: there is no {metric}: every sample failed", task=self.evaluation.task, metric=self.metric)
        values = {
            "task": self.evaluation.task, "metric": self.metric, "value": figure(self.entry.value),
            "bound": figure(self.bound),
        }  # fmt: skip
        if self.entry.higher_is_better:
            return t("{task}: {metric} is {value}, and must be at least {bound}", **values)
        return t("{task}: {metric} is {value}, and must be at most {bound}", **values)


def checks(bounds: Sequence[Bound], evaluations: Sequence[Evaluation]) -> list[Check]:
    """Every bound on every task that it is about.

    Raises:
        NotFound: no task has the score, or there is no such task: a check that checks nothing must not pass.
    """
    found = []
    for bound in bounds:
        about = [item for item in evaluations if bound.task in (None, item.task)]
        if not about:
            names = [item.task for item in evaluations]
            raise NotFound(
                t("--fail-under: there is no task {name}", name=repr(bound.task)),
                hint=did_you_mean(bound.task or "", names) or t("There are {names}.", names=", ".join(names)),
            )
        # A task that failed as a whole has no scores; that others have this one must not let it pass.
        matching = [item for item in about if bound.metric in item.scores or not item.scores]
        names = sorted({name for item in about for name in item.scores})
        if names and bound.metric not in names:
            raise NotFound(
                t("--fail-under: there is no score {name}", name=repr(bound.metric)),
                hint=did_you_mean(bound.metric, names) or t("There are {names}.", names=", ".join(names)),
            )
        found += [Check(item, bound.metric, bound.value, item.scores.get(bound.metric)) for item in matching]
    return found


def enforce(done: Sequence[Check]) -> None:
    """Fail if a bound is not kept.

    Raises:
        ScoreOutOfBounds: with all that are not.
    """
    failed = [check.message for check in done if not check.passed]
    if failed:
        raise ScoreOutOfBounds("\n".join(failed), hint=t("`llmasos compare` shows which samples changed."))


def as_junit(done: Sequence[Check], evaluations: Sequence[Evaluation]) -> str:
    """JUnit XML: a suite for each task, in it a case for each bound, and one that fails if every sample failed to run.

    The format has no schema of its own; this is the subset that Jenkins and GitLab document.
    """
    root = ElementTree.Element("testsuites", {"name": "llmasos eval"})
    for evaluation in evaluations:
        cases = [check for check in done if check.evaluation is evaluation]
        ran = evaluation.counts.get("error", 0) < evaluation.samples
        failures = sum(not check.passed for check in cases)
        suite = ElementTree.SubElement(root, "testsuite", {
            "name": _xml(evaluation.task), "tests": str(len(cases) + 1), "failures": str(failures),
            "errors": str(int(not ran)), "time": f"{evaluation.seconds:.3f}", "timestamp": evaluation.created[:19],
        })  # fmt: skip
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in _facts(evaluation):
            ElementTree.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})
        names = {"classname": _xml(f"{evaluation.model}.{evaluation.task}")}
        run = ElementTree.SubElement(suite, "testcase", {**names, "name": "run", "time": f"{evaluation.seconds:.3f}"})
        if not ran:
            ElementTree.SubElement(run, "error", {"message": _xml("; ".join(evaluation.notes))})
        for check in cases:
            sign = ">=" if check.entry is None or check.entry.higher_is_better else "<="
            case = ElementTree.SubElement(
                suite, "testcase", {**names, "name": _xml(f"{check.metric} {sign} {check.bound:g}"), "time": "0"}
            )
            if not check.passed:
                ElementTree.SubElement(case, "failure", {"message": _xml(check.message), "type": "score"})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [
        ("model", evaluation.model),
        *((f"score.{name}", repr(entry.value)) for name, entry in evaluation.scores.items()),
        *((f"samples.{status}", str(count)) for status, count in evaluation.counts.items()),
    ]


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
