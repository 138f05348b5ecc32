"""Two evaluations of one task: whether they differ, how sure that is, and on which samples."""

from __future__ import annotations

import asyncio

from nicegui import ui

from llmasos.errors import InvalidRequest, LLMasOSError
from llmasos.evaluation.comparison.pairing import likeness
from llmasos.evaluation.comparison.result import PairTest
from llmasos.evaluation.comparison.wording import finding_text, interval_text, p_value_text, smallest_text
from llmasos.evaluation.finished import Finished
from llmasos.evaluation.reports.rows import figure, interval
from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.evaluation import intervals
from llmasos.studio.evaluation.pair_browser import PairBrowser
from llmasos.studio.evaluation.pairs import Compared, compared
from llmasos.studio.evaluation.sections import model_facts, section_links, settings_text
from llmasos.studio.page import Page
from llmasos.studio.pages.leaderboard import nothing_measured

_ALPHA = 0.05


def build(context: Context, first: str | None = None, second: str | None = None) -> None:
    """The page, with two evaluations chosen by their keys."""
    with parts.heading(t("Comparison"), t("Two models on the same samples: do they differ, and where?")):
        pass
    section_links(address.comparison())
    place = ui.element("div").classes("talk")

    async def fill() -> None:
        known = await asyncio.to_thread(context.platform.evaluations.all)
        if place.is_deleted:
            return
        with place:
            if known:
                _Comparison(context, known, first, second)
            else:
                nothing_measured()

    ui.timer(0, context.handle(fill), once=True)


class _Comparison:
    """The choice of two evaluations, and beneath it what is found."""

    def __init__(self, context: Context, known: list[Finished], first: str | None, second: str | None) -> None:
        self._context = context
        self._known = {item.key: item for item in known}
        self._asked = 0
        chosen = self._known.get(first or "") or self._known.get(second or "") or _with_another(known)
        tasks = sorted({item.evaluation.task for item in known})
        with parts.card(), ui.element("div").classes("line"):
            self._task = ui.select(tasks, value=chosen.evaluation.task, label=t("Task")).props("outlined dense")
            self._task.style("min-width: 180px")
            self._first = ui.select({}, label=t("First")).props("outlined dense options-dense")
            self._second = ui.select({}, label=t("Second")).props("outlined dense options-dense")
            for control in (self._first, self._second):
                control.style("min-width: 280px; flex: 1")
            self._different = ui.switch(t("Although settings or samples differ"))
        self._place = ui.element("div").classes("talk")
        self._offer(chosen.key, second if first else None)
        self._task.on_value_change(context.handle(self._change_task))
        choices: tuple[ui.select | ui.switch, ...] = (self._first, self._second, self._different)
        for choice in choices:
            choice.on_value_change(context.handle(self._compare))
        ui.timer(0, context.handle(self._compare), once=True)

    def _offer(self, first: str | None, second: str | None) -> None:
        """Put the evaluations of the task into the lists, and choose two that may be compared where there are such."""
        here = [item for item in self._known.values() if item.evaluation.task == self._task.value]
        labels = {item.key: _label(item) for item in here}
        one = first if first in labels else _with_another(here).key
        others = [item for item in here if item.key != one]
        others.sort(key=lambda item: _nearness(item, self._known[one]))
        two = second if second in labels and second != one else next((item.key for item in others), None)
        self._first.set_options(labels, value=one)
        self._second.set_options(labels, value=two)

    async def _change_task(self) -> None:
        self._offer(None, None)
        await self._compare()

    async def _compare(self) -> None:
        self._asked += 1
        mine = self._asked
        one, two = self._known.get(self._first.value or ""), self._known.get(self._second.value or "")
        self._place.clear()
        if one is None or two is None:
            with self._place, parts.empty("compare_arrows", t("A comparison needs two evaluations of a task."),
                                          t("Measure another model on the same task.")):  # fmt: skip
                ui.link(t("Evaluate a model"), address.evaluate())
            return
        if one is two:
            with self._place:
                ui.label(t("Choose two that are not the same.")).classes("soft")
            return
        with self._place:
            ui.label(t("Comparing …")).classes("soft").props("aria-live=polite")
        names = _names(one, two)
        try:
            found = await asyncio.to_thread(compared, one, two, names, allow_different=self._different.value)
            problem: LLMasOSError | None = None
        except LLMasOSError as error:
            problem = error
        if mine != self._asked or self._place.is_deleted:
            return
        self._place.clear()
        with self._place:
            if problem is not None:
                self._refuse(problem)
            else:
                self._show(found, names)

    def _refuse(self, problem: LLMasOSError) -> None:
        with parts.card():
            ui.label(problem.message).style("color: var(--bad)")
            if isinstance(problem, InvalidRequest):
                ui.label(t("Measure both with the same settings, or compare although they differ.")).classes("soft")
            elif problem.hint:
                ui.label(problem.hint).classes("soft")

    def _show(self, found: Compared, names: tuple[str, str]) -> None:
        (task,) = found.comparison.tasks
        (test,) = task.tests
        entries = task.scores[test.metric]
        with parts.card():
            parts.title_line(2, finding_text(test, _ALPHA))
            scale = intervals.scale_of(entries)
            for item, name, entry in zip((found.first, found.second), names, entries, strict=True):
                with ui.element("div").classes("ranked"):
                    ui.link(name, address.evaluation(item.key))
                    intervals.draw(entry, scale)
                    ui.label(f"{figure(entry.value)} {interval(entry)}").classes("number")
            _better_and_worse(test)
            smallest = smallest_text(test)
            parts.facts([
                (t("Metric"), test.metric),
                (t("Samples that both answered"), f"{task.samples:,}"),
                (t("Difference"), f"{test.difference:+.4f}"),
                (t("95 % interval"), interval_text(test)),
                ("p", p_value_text(test.adjusted)),
                (t("Test"), test.test),
                (t("Smallest difference to find"), smallest),
                (t("Right in one alone"), None if test.only_first is None
                 else f"{test.only_first} · {test.only_second}"),
            ])  # fmt: skip
            for model, count in task.left_out.items():
                ui.label(
                    t("{model}: {count} samples left out, for another model lacks them", model=model, count=count)
                ).style("color: var(--warn)")
            for note in task.notes:
                ui.label(note).style("color: var(--warn)")
        parts.title_line(2, t("Sample by sample"))
        PairBrowser(self._context, found, names)


def _better_and_worse(test: PairTest) -> None:
    total = test.better + test.worse + test.same
    if not total:
        return
    told = t("On {better} samples the second is better, on {worse} worse, on {same} the same.", better=test.better,
             worse=test.worse, same=test.same)  # fmt: skip
    with ui.element("div").classes("shares").props("role=img") as bar:
        bar.props["aria-label"] = told
        for name, count in (("better", test.better), ("same", test.same), ("worse", test.worse)):
            ui.element("div").classes(name).style(f"width: {100 * count / total:.3f}%")
    ui.label(told).classes("small soft")


def _with_another(known: list[Finished]) -> Finished:
    """The newest that may be compared with one of another model, else the newest."""
    seen: dict[object, Finished] = {}
    for item in known:
        other = seen.setdefault(likeness(item.evaluation), item)
        if other.evaluation.model != item.evaluation.model:
            return other
    return known[0]


def _nearness(item: Finished, other: Finished) -> tuple[bool, bool]:
    """Sorts what may be compared first, and of that other models."""
    return (
        likeness(item.evaluation) != likeness(other.evaluation),
        item.evaluation.model == other.evaluation.model,
    )


def _names(one: Finished, two: Finished) -> tuple[str, str]:
    """What the two are called: by their models, else by how or when they were made."""
    first, second = one.evaluation, two.evaluation
    if first.model != second.model:
        return first.model, second.model
    differing = [
        ", ".join(f"{name} {value}" for name, value in facts.items() if others.get(name) != value)
        for facts, others in ((model_facts(first), model_facts(second)), (model_facts(second), model_facts(first)))
    ]
    if not all(differing):
        differing = [_moment(one), _moment(two)]
    if differing[0] == differing[1]:
        differing = [one.key, two.key]
    return f"{first.model} ({differing[0]})", f"{second.model} ({differing[1]})"


def _label(item: Finished) -> str:
    """What a list shows of an evaluation."""
    facts = [model_facts(item.evaluation).get("dtype", ""), settings_text(item.evaluation), _moment(item)]
    return " · ".join((item.evaluation.model, *filter(None, facts)))


def _moment(item: Finished) -> str:
    return item.evaluation.created[:16].replace("T", " ")


PAGE = Page("/evaluate/compare", lambda: t("Comparison"), "compare_arrows", build, section="/evaluate")
