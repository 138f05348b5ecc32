"""A recipe that is being written: its text, what it says, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.data.recipe import DataRecipe
from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.evaluation.recipe import EvaluateRecipe
from llmasos.i18n import t
from llmasos.recipe import loading
from llmasos.recipe.document import Document, Path, parse
from llmasos.recipe.loading import Recipe
from llmasos.studio.recipes import rows
from llmasos.studio.recipes.shape import Kinds, shape_of
from llmasos.studio.recipes.yaml_text import change, dump, values_of
from llmasos.training.recipe.kinds import KINDS

MODELS: Mapping[str, type[Recipe]] = {"data": DataRecipe, **KINDS, "evaluate": EvaluateRecipe}
"""The model of each kind of recipe that the Studio can write."""


class Draft:
    """A recipe of a kind.

    The form shows :attr:`shown`: what the text said when it was last valid, or what was put in from outside since.

    Attributes:
        model, shape: what recipes of the kind may say.
        text: the YAML as it stands.
        shown: the values for the form, with short forms written out.
        readable: whether the text is a mapping in YAML, so that single values in it can be changed.
    """

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        self.model = MODELS[kind]
        self.shape = shape_of(self.model)
        self.text = dump({"kind": kind, **values})
        self.shown: dict[str, Any] = {}
        self.readable = True
        self._problems: list[str] = []
        self._take(show=True)

    def write(self, text: str) -> None:
        """Take a new text; what the form shows follows if it is valid."""
        self.text = text
        self._take(show=False)

    def put(self, path: Path, value: Any) -> None:
        """Change one value in the text; ``None`` takes it away, ``yaml_text.NULL`` writes null.

        Raises:
            InvalidRequest: the text is not YAML at the moment.
        """
        self._change(path, value)
        self._take(show=True)

    def put_all(self, changes: Mapping[str, Any]) -> None:
        """Change values by their dotted paths.

        Raises:
            InvalidRequest: the text is not YAML at the moment.
        """
        for key, value in changes.items():
            self._change(path_of(key), value)
        self._take(show=True)

    def choose_kind(self, path: Path, shape: Kinds, kind: str | None) -> None:
        """Choose the kind of the mapping at a path; keys that the old and the new kind share stay.

        Raises:
            InvalidRequest: the text is not YAML at the moment.
        """
        self._require_readable()
        self.put(path, rows.of_kind(shape, rows.at(values_of(self.text), path), kind))

    def values(self) -> dict[str, Any]:
        """What the text says.

        Raises:
            InvalidRecipe: it has problems, all of which are in the message.
        """
        document = self._document()
        loading.check(document, self.model)
        return document.values

    def problems(self) -> list[str]:
        """All that is wrong, each with its line."""
        return list(self._problems)

    def _document(self) -> Document:
        return parse(self.text, "YAML")

    def _require_readable(self) -> None:
        if not self.readable:
            raise InvalidRequest(
                t("the YAML cannot be read, so the form cannot change it"), hint=t("Mend the YAML first.")
            )

    def _change(self, path: Path, value: Any) -> None:
        self._require_readable()
        for place, item in rows.changes_for(self.shape, values_of(self.text), path, value):
            self.text = change(self.text, place, item)

    def _take(self, *, show: bool) -> None:
        try:
            document = self._document()
        except InvalidRecipe as error:
            self.readable = False
            self._problems = [error.message]
            return
        self.readable = True
        self._problems = loading.problems_of(document, self.model)
        if show or not self._problems:
            self.shown = rows.expanded(self.shape, document.values)


def path_of(key: str) -> Path:
    """The path that a dotted one means; numbers are places in lists."""
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))
