"""A recipe as a form and as YAML, which follow each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.recipes import rows
from llmasos.studio.recipes.draft import Draft, path_of
from llmasos.studio.recipes.form import Form
from llmasos.studio.recipes.shape import Kinds
from llmasos.studio.recipes.yaml_field import YamlField


class RecipeEditor:
    """The form and the YAML beside each other (below each other where there is no room), with all problems.

    Args:
        kind: of the recipe: sft, pretrain, classify, seq2seq, reward, data or evaluate.
        values: the keys that the recipe begins with.
        featured: dotted paths, such as ``method.rank``, that stand first in the form, in this order. A path of the tag
            of a union, such as ``method.kind``, is the choice of its kind. All others are behind "All options".
        on_change: called after the text has changed, by whomever.

    Attributes:
        front: an empty element before the form, for controls of the page.
    """

    def __init__(
        self,
        context: Context,
        kind: str,
        values: Mapping[str, Any],
        *,
        featured: Sequence[str] = (),
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._on_change = on_change
        self._draft = Draft(kind, values)
        with ui.element("div").classes("recipe"):
            with ui.element("div").classes("talk"):
                self.front = ui.element("div").classes("talk")
                self._form = Form(context, self._draft, featured, self._after_form)
            with ui.element("div").classes("talk written"):
                self._field = YamlField(context, self._draft.text, self._written)
                self._told = ui.element("div").classes("talk").props("aria-live=polite")
        self._tell()

    @property
    def text(self) -> str:
        """The YAML as it stands."""
        return self._draft.text

    @property
    def shown(self) -> dict[str, Any]:
        """What the form shows: the values when the text was last valid, with short forms written out."""
        return self._draft.shown

    def kind_at(self, key: str) -> str | None:
        """The kind that holds at the dotted path of a union, written or by default."""
        path = path_of(key)
        shape = rows.find(self._draft.shape, self._draft.shown, path)
        return shape.kind_of(rows.at(self._draft.shown, path)) if isinstance(shape, Kinds) else None

    def put(self, changes: Mapping[str, Any]) -> None:
        """Change values by their dotted paths; ``None`` takes a key away. Form and YAML follow.

        Raises:
            InvalidRequest: the YAML cannot be read at the moment.
        """
        self._draft.put_all(changes)
        self._form.follow()
        self._after_form()

    def values(self) -> dict[str, Any]:
        """What the YAML says.

        Raises:
            InvalidRecipe: it has problems; the message has all of them, with their lines.
        """
        return self._draft.values()

    def problems(self) -> list[str]:
        """All that is wrong, each with its line; empty: the recipe is valid."""
        return self._draft.problems()

    def _after_form(self) -> None:
        self._field.show(self._draft.text)
        self._tell()
        if self._on_change is not None:
            self._on_change()

    def _written(self, text: str) -> None:
        if text == self._draft.text:
            return
        self._draft.write(text)
        self._form.follow()
        self._tell()
        if self._on_change is not None:
            self._on_change()

    def _tell(self) -> None:
        problems = self._draft.problems()
        self._told.clear()
        with self._told:
            if not problems:
                with ui.element("div").classes("line"):
                    parts.pill(t("The recipe is valid."), "good")
                return
            with ui.element("div").classes("line"):
                parts.pill(t("{count} problem(s)", count=len(problems)), "bad")
            with ui.element("ul").classes("problems"):
                for problem in problems:
                    with ui.element("li"):
                        ui.label(problem).classes("small mono")
