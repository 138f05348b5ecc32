"""What the addresses of pages call data: an absolute path on this machine, or a name in the library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.data.look import Look, look_at
from llmasos.data.sources.config import FileSource, LibrarySource, Source
from llmasos.data.sources.layout import Layout
from llmasos.data.sources.library import split_names
from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.studio import uploads


@dataclass(frozen=True)
class Origin:
    """Data that a page is about.

    Attributes:
        data: the path or the name.
        split: of a data set of the library.
    """

    data: str
    split: str = "train"

    @property
    def is_path(self) -> bool:
        return Path(self.data).is_absolute()

    @property
    def title(self) -> str:
        """What people call it."""
        return Path(self.data).name or self.data if self.is_path else self.data

    def source(self, layout: Layout | None = None) -> Source:
        """As a recipe names it."""
        if self.is_path:
            return FileSource(path=self.data, layout=layout)
        return LibrarySource(reference=self.data, split=self.split, layout=layout)

    def entry(self, layout: Layout | None = None) -> dict[str, Any]:
        """The entry of a recipe's list of sources, without what is default."""
        source = self.source(layout)
        values = source.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"layout"})
        if not self.is_path:
            values = {"source": "library", **values}
        if layout is not None:
            values["layout"] = {"kind": layout.kind, **layout.model_dump(exclude_none=True, exclude_defaults=True)}
        return values

    def look(self) -> Look:
        """What it holds; reads every byte the first time. Raises as :func:`llmasos.data.look.look_at`."""
        return look_at(self.source(), Path("/"))

    def splits(self, library: Library) -> list[str]:
        """Of a data set of the library."""
        if self.is_path or not library.has(self.data):
            return []
        return split_names(library.view(library.resolve(self.data), verify=False))

    def upload(self, library: Library) -> Path | None:
        """The file that somebody sent, if it is one."""
        path = Path(self.data)
        return path if self.is_path and path in uploads.files(library) else None


def path_given(text: str) -> Origin:
    """A path as a person writes it.

    Raises:
        InvalidRequest: it is empty.
    """
    if not text.strip():
        raise InvalidRequest(
            t("there is no path"),
            hint=t("Write the path of a file or folder on this machine, such as ~/data/texts.jsonl."),
        )
    return Origin(str(Path(text.strip()).expanduser().absolute()))
