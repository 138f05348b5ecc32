from __future__ import annotations

import pytest

from llmasos.errors import InvalidReference, NotFound, Unsupported
from llmasos.library.sources.hub_files import select_files

COMMON = ["config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE"]


def taken(*paths: str, wanted: str | None = None) -> set[str]:
    return set(select_files("o/r", paths, wanted).taken)


def test_safetensors_before_all_other_copies() -> None:
    selection = select_files(
        "o/r",
        [
            *COMMON,
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "flax_model.msgpack",
            "rust_model.ot",
            "onnx/model.onnx",
            "coreml/x.mlmodel",
            "original/consolidated.00.pth",
            ".gitattributes",
            "modeling.py",
        ],
    )
    assert set(selection.taken) == {*COMMON, "model.safetensors"}
    assert selection.left_out["pytorch_model.bin"] == "another copy of the weights"
    assert selection.left_out["original/consolidated.00.pth"] == "another copy of the weights"
    assert selection.left_out["modeling.py"] == "code, which is never run"
    assert selection.left_out[".gitattributes"] == "not needed"


def test_shards_with_their_own_index_only() -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    pickled = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    indexes = ["model.safetensors.index.json", "pytorch_model.bin.index.json"]
    assert taken(*COMMON, *shards, *pickled, *indexes) == {*COMMON, *shards, "model.safetensors.index.json"}
    assert taken(*COMMON, *pickled, indexes[1]) == {*COMMON, *pickled, indexes[1]}


def test_a_pickled_checkpoint_where_there_is_nothing_else() -> None:
    assert taken(*COMMON, "pytorch_model.bin", "tf_model.h5") == {*COMMON, "pytorch_model.bin"}


def test_the_consolidated_copy_beside_shards_is_left_out() -> None:
    paths = [*COMMON, "consolidated.safetensors", "model-00001-of-00001.safetensors", "model.safetensors.index.json"]
    assert "consolidated.safetensors" not in taken(*paths)


def test_modules_of_sentence_transformers() -> None:
    modules = ["modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    other = ["2_Dense/pytorch_model.bin", "openvino/openvino_model.xml", "data/train.json"]
    assert taken(*COMMON, "model.safetensors", *modules, *other) == {*COMMON, "model.safetensors", *modules}


def test_adapters() -> None:
    assert taken("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "README.md") == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }


def test_gguf_repositories() -> None:
    assert taken("m-Q4_K_M.gguf", "README.md", "config.json") == {"m-Q4_K_M.gguf", "README.md"}
    with pytest.raises(InvalidReference) as caught:
        taken("m-Q8_0.gguf", "m-Q4_K_M.gguf", "README.md")
    assert "hf:o/r/m-Q4_K_M.gguf" in str(caught.value.hint)
    assert taken("m-Q8_0.gguf", "m-Q4_K_M.gguf", "README.md", wanted="m-Q8_0.gguf") == {"m-Q8_0.gguf", "README.md"}
    split = ["big/m-00001-of-00002.gguf", "big/m-00002-of-00002.gguf"]
    assert taken(*split, "README.md") == {*split, "README.md"}
    assert taken(*split, "x.gguf", wanted=split[0]) == set(split)


def test_nothing_that_can_be_read() -> None:
    with pytest.raises(Unsupported, match=r"\.h5"):
        taken("config.json", "tf_model.h5")
    with pytest.raises(Unsupported, match="no weights at all"):
        taken("README.md")
    with pytest.raises(NotFound) as caught:
        taken("m-Q8_0.gguf", wanted="m-Q8_1.gguf")
    assert "m-Q8_0.gguf" in str(caught.value.hint)
