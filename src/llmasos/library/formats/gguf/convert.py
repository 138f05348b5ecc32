"""A GGUF file -> a folder that transformers reads: safetensors, config.json, tokenizer.json and what goes with them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmasos import progress
from llmasos.errors import IntegrityError, MissingDependency, UnsafeContent
from llmasos.i18n import t
from llmasos.library.formats.gguf.architectures import Placement, find_architecture, place_tensors, read_dimensions
from llmasos.library.formats.gguf.config import build_config
from llmasos.library.formats.gguf.fields import Fields
from llmasos.library.formats.gguf.header import Header, damaged, read_header
from llmasos.library.formats.gguf.tensors import plan, write_tensor
from llmasos.library.formats.gguf.tokenizer import write_tokenizer
from llmasos.library.formats.gguf.types import FILE_TYPES
from llmasos.library.formats.gguf.vocabulary import Vocabulary, read_vocabulary
from llmasos.library.formats.json_file import write_json
from llmasos.library.formats.safetensors_writer import SHARD_BYTES, SafetensorsWriter, TensorSlot

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_TEMPLATE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_PARTS = 1000

# How the file's author wants answers to be drawn, in transformers' words.
_SAMPLING = {
    "temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "penalty_repeat": "repetition_penalty",
}  # fmt: skip


@dataclass(frozen=True)
class GGUFInfo:
    """What a file says about its model. ``parameters`` counts weights; ``files`` are its parts."""

    architecture: str
    name: str | None
    quantization: str | None
    parameters: int
    context_length: int | None
    license: str | None
    license_url: str | None
    languages: list[str] = field(default_factory=list)
    base: str | None = None
    data: list[str] = field(default_factory=list)
    description: str | None = None
    chat_template: bool = False
    files: tuple[Path, ...] = ()


def convert_gguf(source: Path, destination: Path, *, shard_bytes: int = SHARD_BYTES) -> GGUFInfo:
    """De-quantise ``source`` once and write a transformers folder into ``destination``, which must exist.

    Writes model.safetensors (in shards of at most ``shard_bytes``), config.json, generation_config.json,
    tokenizer.json, tokenizer_config.json and chat_template.jinja. Needs little memory: a piece of one tensor at a
    time, and the vocabulary. Of a model in several files, ``source`` is any one.

    Raises:
        IntegrityError: the file is truncated or damaged; names the place.
        Unsupported: an architecture, tensor type or vocabulary that cannot be imported; names it.
        OutOfDisk: the weights do not fit the disk.
        MissingDependency: the package ``gguf`` or ``numpy`` is not installed.
    """
    _require_packages()
    headers = read_parts(source)
    header = headers[0]
    architecture = find_architecture(header)
    dimensions = read_dimensions(header)
    placements = place_tensors(header, architecture, dimensions)
    config = build_config(header, architecture, dimensions, placements)
    writer = SafetensorsWriter(destination, plan(placements), shard_bytes=shard_bytes)
    vocabulary = read_vocabulary(header, dimensions.vocabulary)
    _write_configuration(header, config, placements, vocabulary, destination)
    write_tokenizer(header, vocabulary, config["max_position_embeddings"], destination)
    _write_templates(vocabulary, destination)
    _write_weights(source, placements, writer)
    return describe_header(header, tuple(part.path for part in headers))


def _require_packages() -> None:
    try:
        import gguf
        import numpy  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            t("importing GGUF files needs the Python package {name}", name=error.name),
            hint=t('Install it: pip install "llmasos[local]"'),
        ) from error
    if not hasattr(gguf, "dequantize"):
        raise MissingDependency(
            t("importing GGUF files needs the Python package {name}", name="gguf>=0.17"),
            hint=t('Install it: pip install "llmasos[local]"'),
        )


def read_parts(source: Path) -> list[Header]:
    """The header of a file, and of its other parts if the model is split; the first has all tensors.

    Raises:
        IntegrityError: a part is missing, damaged or of another model.
    """
    header = read_header(source)
    count = Fields(header).integer("split.count", 1, least=0)
    if count <= 1:
        return [header]
    match = _PART.fullmatch(source.name)
    if match is None or int(match["count"]) != count or count > MAX_PARTS:
        raise damaged(
            source,
            t(
                "it is one of {count} parts, but its name does not end in -00001-of-{number}.gguf",
                count=count,
                number=f"{count:05d}",
            ),
        )
    headers = []
    for number in range(1, count + 1):
        path = source.with_name(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf")
        if not path.is_file():
            raise IntegrityError(
                t("{path} is missing, the model has {count} parts", path=path, count=count),
                hint=t("Fetch all parts into one folder."),
            )
        part = read_header(path)
        if Fields(part).integer("split.count") != count or Fields(part).integer("split.no") != number - 1:
            raise damaged(path, t("it is not part {number} of {count}", number=number, count=count))
        headers.append(part)
    tensors = {}
    for part in headers:
        for name, tensor in part.tensors.items():
            if name in tensors:
                raise damaged(part.path, t("the tensor {name!r} comes twice", name=name))
            tensors[name] = tensor
    return [Header(headers[0].path, headers[0].metadata, tensors), *headers[1:]]


def _write_configuration(
    header: Header, config: dict[str, Any], placements: list[Placement], vocabulary: Vocabulary, destination: Path
) -> None:
    """config.json and generation_config.json. All supported models were trained in bfloat16 or float32."""
    matrices = [item for item in placements if len(item.tensor.shape) == 2]
    full = all(item.tensor.type.name == "F32" for item in matrices)
    ends = vocabulary.end_ids
    ids = {
        "bos_token_id": vocabulary.ids.get("bos"),
        "eos_token_id": vocabulary.ids.get("eos"),
        "pad_token_id": vocabulary.ids.get("pad"),
    }
    write_json(destination / "config.json", {**config, **ids, "dtype": "float32" if full else "bfloat16"}, indent=2)
    generation: dict[str, Any] = {**ids, "eos_token_id": ends if len(ends) > 1 else ids["eos_token_id"]}
    generation |= _sampling(Fields(header))
    write_json(
        destination / "generation_config.json",
        {key: value for key, value in generation.items() if value is not None},
        indent=2,
    )


def _sampling(fields: Fields) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for key, name in _SAMPLING.items():
        value = fields.number(f"general.sampling.{key}")
        if value is not None:
            chosen[name] = int(value) if name == "top_k" else value
    if chosen.get("temperature") == 0:  # greedy
        return {"do_sample": False} | {name: chosen[name] for name in ("repetition_penalty",) if name in chosen}
    return {"do_sample": True} | chosen if chosen else {}


def _write_templates(vocabulary: Vocabulary, destination: Path) -> None:
    for name, template in vocabulary.chat_templates.items():
        if name == "default":
            path = destination / "chat_template.jinja"
        elif _TEMPLATE_NAME.fullmatch(name):
            path = destination / "additional_chat_templates" / f"{name}.jinja"
        else:
            raise UnsafeContent(
                t("the chat template has the name {name!r}, which cannot be a file's", name=name[:80]),
                hint=t("Names of templates are letters, digits, '-' and '_'."),
            )
        path.parent.mkdir(exist_ok=True)
        path.write_text(template, encoding="utf-8")


def _write_weights(source: Path, placements: list[Placement], writer: SafetensorsWriter) -> None:
    by_target = {item.target: item for item in placements}
    total = sum(item.tensor.size for item in placements)
    with progress.current().task(t("de-quantise {name}", name=source.name), total=total, unit="B") as task:

        def fill(slot: TensorSlot) -> None:
            placement = by_target[slot.planned.name]
            write_tensor(placement, slot)
            task.advance(placement.tensor.size)

        writer.write(fill)


def describe_header(header: Header, files: tuple[Path, ...] = ()) -> GGUFInfo:
    """What the metadata tells, for `llmasos show` and the card.

    Raises:
        IntegrityError: a key has a value of the wrong type.
    """
    fields = Fields(header)
    number = fields.integer("general.file_type")
    quantization = FILE_TYPES.get(number) if number is not None else None
    if quantization is None:  # the file does not say: take what most weights are
        weights: Counter[str] = Counter()
        for tensor in header.tensors.values():
            weights[tensor.type.name] += tensor.elements
        quantization = weights.most_common(1)[0][0] if weights else None
    base = fields.text("general.base_model.0.repo_url") or fields.text("general.base_model.0.name")
    data = [
        fields.text(f"general.dataset.{i}.repo_url") or fields.text(f"general.dataset.{i}.name")
        for i in range(min(fields.integer("general.dataset.count", 0), 100))
    ]
    license_name = fields.text("general.license")
    return GGUFInfo(
        architecture=header.architecture,
        name=fields.text("general.name"),
        quantization=quantization,
        parameters=sum(tensor.elements for tensor in header.tensors.values()),
        context_length=fields.integer(".context_length"),
        license=fields.text("general.license.name") if license_name in (None, "other") else license_name,
        license_url=fields.text("general.license.link"),
        languages=list(fields.texts("general.languages") or ()),
        base=_repository(base),
        data=[item for item in map(_repository, data) if item],
        description=fields.text("general.description"),
        chat_template=bool(fields.text("tokenizer.chat_template")),
        files=files or (header.path,),
    )


def _repository(text: str | None) -> str | None:
    """``org/name`` of a Hugging Face address."""
    if text is None:
        return None
    match = re.fullmatch(r"https://huggingface\.co/(?:datasets/)?([^/]+/[^/]+)/?", text)
    return match[1] if match else text
