"""Which tokenizer a model's folder holds, and its chat template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import IntegrityError, LLMasOSError, MissingDependency, Unsupported
from llmasos.i18n import t
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import ModelFolder, damaged, read_json
from llmasos.modeling.tokenizer import FastTokenizer, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: ModelFolder) -> Tokenizer:
    """The model's tokenizer.

    ``tokenizer.json`` is read as it stands. Other files (SentencePiece, vocabulary and merges) are read by
    transformers, which turns most of them into the same kind of pipeline.

    Raises:
        Unsupported: there is no tokenizer, or one that needs code from the repository.
        IntegrityError: a file is damaged.
        MissingDependency: a package that reads it is not installed.
    """
    file = folder.path / "tokenizer.json"
    if file.is_file():
        return FastTokenizer.from_file(file, folder.tokenizer_config)
    backend = _read_with_transformers(folder)
    if backend.is_fast:
        names = {name: str(text) for name, text in backend.special_tokens_map.items() if isinstance(text, str)}
        limit = {"model_max_length": backend.model_max_length}
        return FastTokenizer(backend.backend_tokenizer, {**names, **limit})
    from llmasos.modeling.legacy_tokenizer import LegacyTokenizer

    return LegacyTokenizer(backend)


def _read_with_transformers(folder: ModelFolder) -> PreTrainedTokenizerBase:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            t("running a model needs the package {name}", name="transformers"), hint='pip install "llmasos[local]"'
        ) from error
    try:
        backend: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False
        )
    except ImportError as error:
        raise MissingDependency(
            t("the tokenizer of {model} needs a package that is not installed: {problem}",
              model=folder.reference, problem=error),
            hint='pip install "llmasos[local]"',
        ) from error  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _no_tokenizer(folder, error) from error
    return backend


def _no_tokenizer(folder: ModelFolder, problem: Exception) -> LLMasOSError:
    present = [name for name in ("vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "source.spm")
               if (folder.path / name).is_file()]  # fmt: skip
    if present:
        return IntegrityError(
            t("the tokenizer of {model} ({names}) cannot be read: {problem}",
              model=folder.reference, names=", ".join(present), problem=problem),
            hint=t("Pull or import the model again."),
        )  # fmt: skip
    return Unsupported(
        t("{model} has no tokenizer: tokenizer.json is missing", model=folder.reference),
        hint=t("Copy the tokenizer's files of the model it was made from into its folder."),
    )


def load_chat_template(folder: ModelFolder, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The model's chat template; ``None`` for a base model that has none.

    Raises:
        Unsupported: the template is not valid.
        IntegrityError: a file is damaged.
    """
    sources = template_sources(folder)
    if not sources:
        return None
    return ChatTemplate(sources, special_tokens=tokenizer.special.texts, added_tokens=tokenizer.added_tokens)


def template_sources(folder: ModelFolder) -> Mapping[str, str]:
    """Templates by name: from their own files, else from the tokenizer's configuration."""
    sources: dict[str, str] = {}
    value = folder.tokenizer_config.get("chat_template")
    if isinstance(value, str):
        sources["default"] = value
    elif isinstance(value, Mapping):
        sources |= {str(name): str(text) for name, text in value.items()}
    elif isinstance(value, list):
        sources |= {str(item["name"]): str(item["template"]) for item in value
                    if isinstance(item, Mapping) and "name" in item and "template" in item}  # fmt: skip
    old_file = read_json(folder.path / "chat_template.json")
    if old_file is not None and isinstance(old_file.get("chat_template"), str):
        sources["default"] = old_file["chat_template"]
    own_file = folder.path / "chat_template.jinja"
    if own_file.is_file():
        sources["default"] = _text(own_file)
    for file in sorted((folder.path / "additional_chat_templates").glob("*.jinja")):
        sources[file.stem] = _text(file)
    return sources


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(file, error) from error
