"""What this API tells of a model: details, facts by the names of GGUF, template, parameters, abilities, Modelfile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.engine.tool_formats import detect_tool_format
from llmasos.errors import LLMasOSError, NotFound
from llmasos.library.metadata import parameter_size
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.generation_defaults import default_options
from llmasos.modeling.tokenizer_files import template_sources
from llmasos.server.ollama.options import parameter_lines
from llmasos.server.serving.presets import Presets
from llmasos.server.serving.reading import marks_reasoning

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.library.version import VersionRow
    from llmasos.server.serving.names import Target
    from llmasos.server.serving.service import ModelService

_LEVELS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
_FORMATS = {"transformers": "safetensors", "adapter": "safetensors"}
_LARGEST_LICENSE = 2**20
_FACTS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "vocab_size": "vocab_size",
    "sliding_window": "attention.sliding_window",
}


@dataclass(frozen=True, slots=True)
class Description:
    """A model of this machine."""

    name: str
    row: VersionRow | None
    folder: ModelFolder | None
    """``None`` for a model of another server."""
    templates: Mapping[str, str] = field(default_factory=dict)
    presets: Presets | None = None
    license: str | None = None

    @property
    def template(self) -> str:
        """The chat template, in Jinja; empty if there is none."""
        return self.templates.get("default") or next(iter(self.templates.values()), "")

    def capabilities(self) -> list[str]:
        """What can be asked of it, by Ollama's names."""
        if self.folder is None:
            return ["completion"]
        family = self.folder.family
        if family == "encoder":
            return ["embedding"]
        if family != "causal":
            return []
        found = ["completion"]
        if self.templates:
            source = "\n".join(self.templates.values())
            if detect_tool_format(source) is not None or not ChatTemplate(self.templates).accepts_tools():
                found.append("tools")
            if marks_reasoning(source):
                found.append("thinking")
        return found

    def parameters(self) -> list[tuple[str, str]]:
        """The options that hold where a request says nothing, as a Modelfile names them."""
        options: dict[str, Any] = {}
        if self.folder is not None and self.folder.family == "causal":
            defaults = default_options(self.folder)
            neutral = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "stop": ()}
            options = {
                name: getattr(defaults, name) for name in neutral if getattr(defaults, name) != neutral[name]
            }  # fmt: skip
            options["temperature"] = defaults.temperature
        presets = self.presets or Presets()
        return parameter_lines({**options, **presets.options}, presets.context_limit)

    def facts(self) -> dict[str, Any]:
        """By the names of GGUF, which clients look for."""
        row, folder = self.row, self.folder
        if folder is None:
            return {"general.basename": self.name}
        architecture = (row.architecture if row is not None else None) or folder.model_type
        facts: dict[str, Any] = {"general.architecture": architecture, "general.basename": self.name.partition(":")[0]}
        if row is not None and row.parameters is not None:
            facts["general.parameter_count"] = row.parameters
        if row is not None and row.license is not None:
            facts["general.license"] = row.license
        if folder.context_length is not None:
            facts[f"{architecture}.context_length"] = folder.context_length
        config = folder.text_config
        rope = config.get("rope_parameters")
        values = {**(rope if isinstance(rope, Mapping) else {}), **config}
        for key, fact in _FACTS.items():
            if isinstance(values.get(key), int | float):
                facts[f"{architecture}.{fact}"] = values[key]
        return facts

    def modelfile(self) -> str:
        """The text from which a Modelfile for a model like this may be made. Its template is in Jinja."""
        parts = [f"# A model of LLMasOS; the template is in Jinja.\nFROM {self.name}"]
        if self.template:
            parts.append(f'TEMPLATE """{self.template}"""')
        parts += [f"PARAMETER {name} {value}" for name, value in self.parameters()]
        presets = self.presets or Presets()
        if presets.system is not None:
            parts.append(f'SYSTEM """{presets.system}"""')
        parts += [f"MESSAGE {item['role']} {json.dumps(item['content'], ensure_ascii=False)}"
                  for item in presets.messages]  # fmt: skip
        if self.license:
            parts.append(f'LICENSE """{self.license}"""')
        return "\n".join(parts) + "\n"


def details_of(row: VersionRow | None, folder: ModelFolder | None = None) -> dict[str, Any]:
    """The object ``details`` of lists and descriptions."""
    family = (row.architecture if row is not None else None) or (folder.model_type if folder is not None else "")
    level = (row.quantization or _LEVELS.get(row.precision or "", row.precision or "")) if row is not None else ""
    format = (row.format if row is not None else None) or ("transformers" if folder is not None else "")
    return {
        "parent_model": (row.base_digest or "") if row is not None else "",
        "format": _FORMATS.get(format, format),
        "family": family,
        "families": [family] if family else [],
        "parameter_size": (parameter_size(row.parameters) or "") if row is not None else "",
        "quantization_level": level,
    }


async def describe(service: ModelService, name: str) -> Description:
    """Everything about a model.

    Raises:
        NotFound: there is no such model.
        IntegrityError: its files are damaged.
    """
    target = service.names.find(name)
    return await asyncio.to_thread(_describe, service.library, target)


async def chat_template_of(service: ModelService, name: str) -> str:
    """The chat template of a model, empty if it has none. Raises as :func:`describe`."""
    return (await describe(service, name)).template


def _describe(library: Library, target: Target) -> Description:
    if target.upstream is not None:
        return Description(target.name, None, None)
    row = row_of(library, target)
    if row is None:
        folder = ModelFolder.open(Path(target.reference), reference=target.name)
        return Description(target.name, None, folder, template_sources(folder))
    # What is loaded; of an adapter, its base.
    folder = ModelFolder.open(library.view(library.version(target.reference), verify=False), reference=target.name)
    return Description(
        target.name, row, folder, template_sources(folder), target.presets, _license(library, row) or row.license
    )


def row_of(library: Library, target: Target) -> VersionRow | None:
    """The version that a name means, which presets and adapters tell apart from the one that is loaded."""
    try:
        digest = target.adapter or library.digest_of(target.name)
    except LLMasOSError:  # a name of the configuration
        digest = target.key
    return next(iter(library.catalogue.rows(digest=digest)), None)


def _license(library: Library, row: VersionRow) -> str | None:
    """The text of the licence, if the version has it."""
    try:
        manifest, _ = library.read_manifest(row.digest)
    except NotFound:
        return None
    texts = [
        library.blobs.read(file.digest).decode("utf-8", "replace")
        for path, file in sorted(manifest.files.items())
        if path.lower().startswith(("license", "licence", "copying")) and file.size <= _LARGEST_LICENSE
    ]
    return "\n\n".join(texts) or None
