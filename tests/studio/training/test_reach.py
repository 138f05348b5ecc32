"""Members train on what they may see."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmasos.errors import Forbidden
from llmasos.library.store import Library
from llmasos.studio import uploads
from llmasos.studio.accounts.visitor import OWNER, Visitor
from llmasos.studio.context import Context
from llmasos.studio.training.reach import check_training_reach
from llmasos.training.launch import read_recipe


def context(tmp_path: Path, visitor: Visitor) -> Context:
    return cast(Context, SimpleNamespace(platform=SimpleNamespace(library=Library(tmp_path / "home")), visitor=visitor))


@pytest.mark.parametrize(("changes", "allowed"), [
    ({}, True),
    ({"data": {"train": [{"path": "/etc/passwd"}]}}, False),
    ({"data": {"train": [{"source": "library", "reference": "my/data"}]}}, True),
    ({"model": "./model"}, False),
    ({"model": {"preset": "bert-tiny", "tokenizer": {"kind": "existing", "model": "./model"}}}, False),
    ({"model": {"preset": "bert-tiny"}}, True),
    ({"evaluation": {"tasks": [{"task": "mine.yaml"}]}}, False),
    ({"evaluation": {"tasks": [{"task": "boolq"}]}}, True),
    ({"trackers": [{"kind": "tensorboard"}]}, False),
])  # fmt: skip
def test_members_reach_no_other_files(tmp_path: Path, changes: dict[str, Any], allowed: bool) -> None:
    (tmp_path / "model").mkdir()
    changes = {key: _filled(value, tmp_path) for key, value in changes.items()}
    member = context(tmp_path, Visitor("Ada", "member"))
    sent = uploads.folder(member.platform.library) / "a.csv"
    recipe = read_recipe({"kind": "classify", "model": "a", "data": {"train": [{"path": str(sent)}]}, **changes})
    check_training_reach(context(tmp_path, OWNER), recipe)
    if allowed:
        check_training_reach(member, recipe)
        return
    with pytest.raises(Forbidden):
        check_training_reach(member, recipe)


def _filled(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, folder) for key, item in value.items()}
    return str(folder / "model") if value == "./model" else value
