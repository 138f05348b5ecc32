"""The files that a model needs beside its weights, taken over from the one it was made from."""

from __future__ import annotations

import shutil
from fnmatch import fnmatchcase
from pathlib import Path

_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "*.model", "*.spm", "*.tiktoken", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*",
)  # fmt: skip
_LEGAL = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
_GENERATION = "generation_config.json"


def copy_companions(source: Path, target: Path, *, legal_only: bool = False) -> None:
    """Copy tokenizer, chat template, settings for generation and licence.

    Args:
        source: folder of the model that was trained.
        target: folder that has weights and configuration already.
        legal_only: the licence alone, for an adapter.
    """
    patterns = _LEGAL if legal_only else (*_TOKENIZER, *_LEGAL)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
                                  for pattern in patterns):  # fmt: skip
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
    own = target / _GENERATION
    if not legal_only and own.exists() and (source / _GENERATION).is_file():
        shutil.copyfile(source / _GENERATION, own)  # the trainer may have changed the loaded one
