"""Tokenizers in the layout of transformers, and folders that appear at once."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmasos.library.disk import full_disk_as_error, sync_file, sync_folder
from llmasos.modeling.tokenizer import FastTokenizer


def write_tokenizer(folder: Path, tokenizer: FastTokenizer, *, template: str | None, limit: int | None) -> None:
    """Write a tokenizer in the layout of transformers.

    Args:
        template: its chat template.
        limit: most tokens of a text, ``None`` if it does not say.
    """
    (folder / "tokenizer.json").write_text(tokenizer.backend.to_str(pretty=True), encoding="utf-8")
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **tokenizer.special.texts,
    }
    if limit is not None:
        config["model_max_length"] = limit
    text = json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A folder to write into, which gets its name, and stays, once the block is done.

    Raises:
        OutOfDisk: the disk is full; nothing stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        with full_disk_as_error(target.parent):
            yield temporary
            for file in temporary.iterdir():
                sync_file(file)
            sync_folder(temporary)
            temporary.rename(target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
