"""Members read what was sent; admins read any file of the machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmasos.data.recipe import DataRecipe
from llmasos.data.sources.config import FileSource
from llmasos.errors import Forbidden
from llmasos.studio import uploads
from llmasos.studio.context import Context
from llmasos.studio.datasets.reach import check_paths, check_reach


def context(home: Path, *, admin: bool) -> Context:
    platform = SimpleNamespace(library=SimpleNamespace(home=home))
    return cast(Context, SimpleNamespace(platform=platform, visitor=SimpleNamespace(is_admin=admin)))


def recipe(**values: Any) -> DataRecipe:
    return DataRecipe.model_validate({"kind": "data", "sources": [{"path": "a.csv"}], **values})


ELSEWHERE: list[dict[str, Any]] = [
    {"sources": [{"path": "/etc/passwd"}]},
    {"sources": [{"path": ["a.csv", "../../secret.csv"]}]},
    {"sources": [{"path": "~/x.csv"}]},
    {"sources": [{"path": "../data/../../x/*.csv"}]},
    {"sources": [{"source": "aligned", "first": "a.txt", "second": "/etc/hosts"}]},
    {"sources": [{"source": "hub", "dataset": "/srv/private"}]},
    {"sources": [{"source": "hub", "dataset": "../../private"}]},
    {"sources": [{"source": "hub", "dataset": "org/../../../private"}]},
    {"steps": [{"step": "exact_duplicates", "against": [{"path": "/etc/passwd"}]}]},
]


@pytest.mark.parametrize("values", ELSEWHERE)
def test_members_do_not_read_other_files(home: Path, values: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match="only admins"):
        check_reach(context(home, admin=False), recipe(**values))
    check_reach(context(home, admin=True), recipe(**values))


def test_members_read_what_was_sent_and_the_library(home: Path, tmp_path: Path) -> None:
    member = context(home, admin=False)
    folder = uploads.folder(member.platform.library)
    folder.mkdir(parents=True)
    check_reach(member, recipe())
    check_reach(member, FileSource(path=str(folder / "a.csv")))
    check_reach(member, recipe(sources=[{"source": "library", "reference": "my/data"}]))
    check_reach(member, recipe(sources=[{"source": "hub", "dataset": "org/name"}]))
    (folder / "link.csv").symlink_to(tmp_path / "other.csv")
    with pytest.raises(Forbidden):
        check_reach(member, FileSource(path=str(folder / "link.csv")))


def test_members_name_no_other_folder(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="only admins"):
        check_paths(context(home, admin=False), [str(tmp_path)])
    check_paths(context(home, admin=True), [str(tmp_path)])
    check_paths(context(home, admin=False), ["sent.csv"])
