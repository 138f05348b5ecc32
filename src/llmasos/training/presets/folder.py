"""The folder of a preset before training: tokenizer and configuration in the layout of transformers, no weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.library.locks import file_lock
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.tokenizer import FastTokenizer
from llmasos.modeling.tokenizer_files import load_tokenizer, template_sources
from llmasos.training.presets.configuration import Vocabulary, configuration
from llmasos.training.presets.shape import Shape, shape_of
from llmasos.training.presets.table import check_kind
from llmasos.training.presets.tokenizer_cache import TokenizerReport, trained_tokenizer
from llmasos.training.presets.tokenizer_files import building, write_tokenizer
from llmasos.training.presets.tokenizer_training import Texts
from llmasos.training.recipe.models import ExistingTokenizer, PresetModel

_FORMAT = 1
"""Of these folders; part of their names, so that those of an older program are not found."""
_MARIAN_FILES = ("source.spm", "target.spm", "target_vocab.json", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True)
class PreparedPreset:
    """A preset ready to be built.

    Attributes:
        folder: configuration and tokenizer.
        report: of a new tokenizer; ``None`` for one that existed.
    """

    folder: ModelFolder
    report: TokenizerReport | None


def prepare_preset(
    model: PresetModel,
    *,
    kind: str,
    texts: Texts,
    root: Path,
    existing: ModelFolder | None = None,
    labels: Sequence[str] = (),
) -> PreparedPreset:
    """Make the tokenizer and the configuration of a preset, or find them.

    Args:
        kind: of the recipe; a model for ``sft`` gets a chat template.
        texts: what a new tokenizer is trained on.
        root: folder that keeps what is made, such as ``cache/presets`` of the home folder.
        existing: the model whose tokenizer is used, if the recipe names one.
        labels: names of the classes, for ``classify``.

    Raises:
        InvalidRecipe: the sizes do not fit, the kind cannot train this preset, or the vocabulary is too small.
        InvalidRequest: there is no text.
        OutOfDisk: the disk is full.
    """
    shape = shape_of(model)
    check_kind(shape.preset, kind)
    report = None
    if isinstance(model.tokenizer, ExistingTokenizer):
        assert existing is not None
        source = existing
    else:
        path, report = trained_tokenizer(
            model.tokenizer, shape.family, chat=kind == "sft", texts=texts, root=root / "tokenizers"
        )
        source = ModelFolder(path, {}, model.preset)
    tokenizer = load_tokenizer(source)
    identity = [_FORMAT, kind, list(labels), model.model_dump(mode="json"), tokenizer.digest,
                dict(template_sources(source))]  # fmt: skip
    target = root / f"{model.preset}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}"
    with file_lock(root / "locks" / f"{target.name}.lock", timeout=60, waiting_for=t("a preset is being made")):
        if not target.is_dir():
            with building(target) as folder:
                config, generation = configuration(shape, Vocabulary.of(tokenizer), kind=kind, labels=labels)
                config.save_pretrained(folder)
                if generation is not None:
                    generation.save_pretrained(folder)
                if isinstance(tokenizer, FastTokenizer):
                    write_tokenizer(
                        folder, tokenizer, template=template_sources(source).get("default"),
                        limit=shape.context_length,
                    )  # fmt: skip
                else:
                    _copy_marian(source, shape, folder)
    return PreparedPreset(ModelFolder.open(target, reference=model.preset, labels=tuple(labels)), report)


def _copy_marian(source: ModelFolder, shape: Shape, folder: Path) -> None:
    if shape.family != "marian":
        raise InvalidRecipe(
            t("model.tokenizer.model: the tokenizer of {model} has no tokenizer.json and fits presets of Marian only",
              model=source.reference),
            hint=t("Choose another model's tokenizer, or train a new one: tokenizer: {{kind: train}}."),
        )  # fmt: skip
    for name in _MARIAN_FILES:
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, folder / name)
