"""What a source hands over: files in a folder, and what is known of them beside their bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

MARKER = "fetched.json"


@dataclass(frozen=True)
class Origin:
    """A file that bytes were taken from: where it was, and its digest (``sha256:<hex>``) if that is known."""

    reference: str
    digest: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Files of one artefact as their source has them.

    ``path`` is a folder, or a single file; ``owned`` tells that the files are ours, to be moved rather than copied.
    ``source`` is the reference with everything pinned, as the lineage records it, and ``origins`` what was fetched.
    ``license`` and ``languages`` are what the source says beside its files. ``left_out`` names files that were not
    taken, and why.
    """

    path: Path
    source: str
    owned: bool = True
    origins: tuple[Origin, ...] = ()
    license: str | None = None
    license_url: str | None = None
    languages: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def remember(self, directory: Path, identity: str) -> None:
        """Note in the folder of the pull that its files are complete, so that after a kill they are used again."""
        document = asdict(replace(self, path=self.path.relative_to(directory))) | {"identity": identity}
        temporary = directory / f"{MARKER}.new"
        temporary.write_text(json.dumps(document, default=str), encoding="utf-8")
        temporary.replace(directory / MARKER)

    @classmethod
    def recall(cls, directory: Path, identity: str) -> Fetched | None:
        """What :meth:`remember` noted for the same ``identity``, or ``None``."""
        try:
            document = json.loads((directory / MARKER).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if document.pop("identity") != identity:
            return None
        path = directory / document.pop("path")
        origins = tuple(Origin(**origin) for origin in document.pop("origins"))
        return cls(path=path, origins=origins, languages=tuple(document.pop("languages")), **document)
