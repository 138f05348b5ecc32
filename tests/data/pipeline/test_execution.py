"""Clusters: Slurm by stand-ins of its commands, Ray on this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import llmasos
from llmasos.errors import InvalidRecipe, MissingDependency, Unavailable

SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1]).read_text()
log = pathlib.Path(os.environ["SLURM_STANDIN_LOG"])
with log.open("a") as file:
    file.write(script)
if os.environ.get("SLURM_STANDIN") == "refuse":
    sys.exit("sbatch: error: invalid partition specified")
first, last = map(int, re.search(r"--array=(\\d+)-(\\d+)", script).groups())
for task in range(first, last + 1):
    if os.environ.get("SLURM_STANDIN") == "lose":
        continue
    variables = {{**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_NODELIST": "node1", "RUN_OFFSET": "0"}}
    subprocess.run(["bash", sys.argv[-1]], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 17")
"""
COMMANDS = {
    "sbatch": SBATCH,
    "srun": '#!/bin/bash\nwhile [[ "$1" == -* ]]; do [[ "$1" == "-n" ]] && shift; shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\necho node1\n",
    "squeue": "#!/bin/bash\nexit 0\n",
}  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of Slurm that run every job at once; returns the file of what was submitted."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, content in COMMANDS.items():
        path = folder / name
        path.write_text(content.format(python=sys.executable) if name == "sbatch" else content)
        path.chmod(0o755)
    log = folder / "submitted"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STANDIN_LOG", str(log))
    return log


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": f"Row number {number % 30} of a small corpus."}) for number in range(60)]
    Path("a.jsonl").write_text("\n".join(lines))
    return {
        "kind": "data",
        "sources": [{"path": "a.jsonl"}],
        "steps": [{"step": "exact_duplicates"}],
        "execution": {"workers": 1, "shard_megabytes": 0.001},
    }


SLURM = {"executor": "slurm", "partition": "cpu", "shard_megabytes": 0.001, "poll_seconds": 0.05}


@pytest.mark.integration
def test_slurm_gives_the_same_as_here(slurm: Path, recipe: dict[str, Any]) -> None:
    here = llmasos.prepare(recipe)
    there = llmasos.prepare({**recipe, "execution": SLURM})
    assert there.version.digest == here.version.digest
    submitted = slurm.read_text()
    assert "#SBATCH --partition=cpu" in submitted
    assert "#SBATCH --time=04:00:00" in submitted


@pytest.mark.integration
def test_what_a_task_raises_on_slurm_reaches_the_caller(slurm: Path, recipe: dict[str, Any]) -> None:
    split = {"parts": {"test": 0.5}, "group_by": "author"}
    with pytest.raises(InvalidRecipe, match="nothing named 'author'"):
        llmasos.prepare({**recipe, "split": split, "execution": SLURM})


@pytest.mark.parametrize(("what", "message"), [("lose", "ended without a result"), ("refuse", "Slurm refused the job")])
def test_slurm_that_fails(
    what: str, message: str, slurm: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_STANDIN", what)
    with pytest.raises(Unavailable, match=message):
        llmasos.prepare({**recipe, "execution": SLURM})


def test_no_slurm_here(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependency, match="there is no command 'sbatch' here"):
        llmasos.prepare({**recipe, "execution": SLURM})


@pytest.mark.integration
def test_ray_gives_the_same_as_here(recipe: dict[str, Any]) -> None:
    pytest.importorskip("ray")
    here = llmasos.prepare(recipe)
    execution = {"executor": "ray", "shard_megabytes": 0.001, "memory_per_cpu_gigabytes": 0.2}
    assert llmasos.prepare({**recipe, "execution": execution}).version.digest == here.version.digest
