"""The tasks that can be chosen: those that come with LLMasOS and a person's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import urlsplit

from llmasos.errors import LLMasOSError
from llmasos.evaluation.data.fetch import name_of
from llmasos.evaluation.data.options import HubFile, LocalFile, UrlFile
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import missing_data
from llmasos.evaluation.task import Kind
from llmasos.evaluation.tasks.find import FoundTask, builtin_tasks
from llmasos.evaluation.tasks.own import own_tasks
from llmasos.i18n import t, translate
from llmasos.library.sources.hub import endpoint

LANGUAGES = ("en", "zh", "de")


@dataclass(frozen=True)
class Offer:
    """A task in the list."""

    found: FoundTask
    file: Path | None = None
    """Of a person's own task."""

    @property
    def name(self) -> str:
        """Of the task."""
        return self.found.task.name

    @property
    def title(self) -> str:
        """For people."""
        return self.found.task.title or self.name

    @property
    def description(self) -> str:
        """What it measures, in the language in force."""
        return translate(self.found.task.description or "")

    @property
    def license(self) -> str | None:
        """Of the data, in the language in force where it is a sentence."""
        return translate(self.found.task.data.license) if self.found.task.data.license else None

    @property
    def reference(self) -> str:
        """What a recipe names it by."""
        return self.name if self.file is None else str(self.file)

    @property
    def has_sample(self) -> bool:
        """Whether a few made-up rows come with it."""
        return self.found.task.data.sample is not None

    @cached_property
    def words(self) -> str:
        """What a search looks in."""
        task = self.found.task
        words = (task.name, task.title, task.description, task.kind, task.language, task.data.license, *task.tags)
        return " ".join(word for word in words if word).lower()

    def matches(self, text: str, kind: str | None, language: str | None) -> bool:
        """Whether it is among those that a person looks for."""
        task = self.found.task
        return (
            (text in self.words or text in self.description.lower())
            and kind in (None, task.kind)
            and language in (None, task.language)
        )


@cache
def _builtin() -> tuple[Offer, ...]:
    return tuple(Offer(found) for found in builtin_tasks())


def offers() -> tuple[list[Offer], list[str]]:
    """All tasks, a person's own first, and what is wrong with files that are none."""
    problems: list[str] = []

    def note(path: Path, error: LLMasOSError) -> None:
        problems.append(f"{path.name}: {error.message}")

    own = [Offer(found, path) for path, found in own_tasks(note)]
    return [*own, *_builtin()], problems


def to_fetch(offer: Offer, options: RunOptions) -> list[str]:
    """The files that are not on this machine, with where they come from."""
    return [f"{name_of(file)} ({origin(file)})" for file in missing_data(offer.found, options)]


def origin(file: HubFile | UrlFile | LocalFile) -> str:
    """Where a file comes from, for people."""
    if isinstance(file, HubFile):
        return urlsplit(endpoint()).netloc or endpoint()
    return urlsplit(file.url).netloc if isinstance(file, UrlFile) else t("a file on this machine")


def kind_names() -> dict[Kind, str]:
    """Kinds of tasks in words."""
    return {
        "choice": t("choice of answers"), "generation": t("written answer"), "classification": t("classification"),
        "seq2seq": t("translation or summary"), "perplexity": t("perplexity"), "code": t("program"),
        "instructions": t("instructions"),
    }  # fmt: skip


def language_name(code: str | None) -> str:
    """A language in words."""
    return {"en": t("English"), "zh": t("Chinese"), "de": t("German"), None: t("none in particular")}.get(
        code, code or ""
    )
