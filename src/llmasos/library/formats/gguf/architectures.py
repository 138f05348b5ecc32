"""Which architectures can be imported, and where each of their tensors goes.

llama.cpp's converters (conversion/*.py in its repository) rename tensors and change some of them; every rule here
undoes one such step. A file must have exactly the tensors of its architecture, with the shapes that its metadata
promises: a model with a hole or a surplus would load, and answer nonsense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from llmasos.errors import Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.library.formats.gguf.fields import Fields
from llmasos.library.formats.gguf.header import Header, TensorInfo, damaged


class Change(Enum):
    """What has to be done to a tensor besides renaming it."""

    NONE = auto()
    UNPERMUTE_QUERY = auto()  # llama.cpp interleaves the halves of each head for its rotary kernel
    UNPERMUTE_KEY = auto()
    MINUS_ONE = auto()  # Gemma's norms scale by 1 + weight, and llama.cpp stores the sum


@dataclass(frozen=True)
class Rule:
    """``source`` in the GGUF file is ``target`` in transformers; ``{i}`` is the layer. ``shape`` names dimensions."""

    source: str
    target: str
    shape: tuple[str, ...]
    change: Change = Change.NONE
    optional: bool = False


@dataclass(frozen=True)
class Architecture:
    """An architecture of llama.cpp and the transformers model that computes the same."""

    name: str
    model_type: str
    model_class: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Placement:
    """One tensor of the file and what becomes of it."""

    tensor: TensorInfo
    target: str
    change: Change
    heads: int  # rows come in this many heads; 1 where nothing is permuted


_EMBEDDINGS = (
    Rule("token_embd.weight", "model.embed_tokens.weight", ("vocabulary", "hidden")),
    Rule("output_norm.weight", "model.norm.weight", ("hidden",)),
    Rule("output.weight", "lm_head.weight", ("vocabulary", "hidden"), optional=True),
)
_ATTENTION = (
    Rule("blk.{i}.attn_q.weight", "model.layers.{i}.self_attn.q_proj.weight", ("query", "hidden")),
    Rule("blk.{i}.attn_k.weight", "model.layers.{i}.self_attn.k_proj.weight", ("key", "hidden")),
    Rule("blk.{i}.attn_v.weight", "model.layers.{i}.self_attn.v_proj.weight", ("key", "hidden")),
    Rule("blk.{i}.attn_output.weight", "model.layers.{i}.self_attn.o_proj.weight", ("hidden", "query")),
)
_FEED_FORWARD = (
    Rule("blk.{i}.ffn_gate.weight", "model.layers.{i}.mlp.gate_proj.weight", ("inner", "hidden")),
    Rule("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.up_proj.weight", ("inner", "hidden")),
    Rule("blk.{i}.ffn_down.weight", "model.layers.{i}.mlp.down_proj.weight", ("hidden", "inner")),
)
_NORMS = (
    Rule("blk.{i}.attn_norm.weight", "model.layers.{i}.input_layernorm.weight", ("hidden",)),
    Rule("blk.{i}.ffn_norm.weight", "model.layers.{i}.post_attention_layernorm.weight", ("hidden",)),
)
_HEAD_NORMS = (
    Rule("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight", ("head",)),
    Rule("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight", ("head",)),
)
_FOUR_NORMS = (
    Rule("blk.{i}.attn_norm.weight", "model.layers.{i}.input_layernorm.weight", ("hidden",)),
    Rule("blk.{i}.post_attention_norm.weight", "model.layers.{i}.post_attention_layernorm.weight", ("hidden",)),
    Rule("blk.{i}.ffn_norm.weight", "model.layers.{i}.pre_feedforward_layernorm.weight", ("hidden",)),
    Rule("blk.{i}.post_ffw_norm.weight", "model.layers.{i}.post_feedforward_layernorm.weight", ("hidden",)),
)
_INPUT_BIASES = (
    Rule("blk.{i}.attn_q.bias", "model.layers.{i}.self_attn.q_proj.bias", ("query",)),
    Rule("blk.{i}.attn_k.bias", "model.layers.{i}.self_attn.k_proj.bias", ("key",)),
    Rule("blk.{i}.attn_v.bias", "model.layers.{i}.self_attn.v_proj.bias", ("key",)),
)
_OUTPUT_BIAS = (Rule("blk.{i}.attn_output.bias", "model.layers.{i}.self_attn.o_proj.bias", ("hidden",)),)
_FEED_FORWARD_BIASES = (
    Rule("blk.{i}.ffn_gate.bias", "model.layers.{i}.mlp.gate_proj.bias", ("inner",)),
    Rule("blk.{i}.ffn_up.bias", "model.layers.{i}.mlp.up_proj.bias", ("inner",)),
    Rule("blk.{i}.ffn_down.bias", "model.layers.{i}.mlp.down_proj.bias", ("hidden",)),
)


def _optional(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(replace(rule, optional=True) for rule in rules)


def _permuted(*rules: Rule) -> tuple[Rule, ...]:
    changes = {"attn_q": Change.UNPERMUTE_QUERY, "attn_k": Change.UNPERMUTE_KEY}
    return tuple(replace(rule, change=changes.get(rule.source.split(".")[2], rule.change)) for rule in rules)


def _gemma(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(
        replace(rule, change=Change.MINUS_ONE) if rule.source.endswith("norm.weight") else rule for rule in rules
    )


_ALL = (
    Architecture(
        "llama",
        "llama",
        "LlamaForCausalLM",
        (
            *_EMBEDDINGS,
            *_NORMS,
            *_permuted(*_ATTENTION),
            *_FEED_FORWARD,
            *_optional(*_permuted(*_INPUT_BIASES), *_OUTPUT_BIAS, *_FEED_FORWARD_BIASES),
        ),
    ),
    Architecture(
        "qwen2",
        "qwen2",
        "Qwen2ForCausalLM",
        (
            *_EMBEDDINGS,
            *_NORMS,
            *_ATTENTION,
            *_INPUT_BIASES,
            *_FEED_FORWARD,
        ),
    ),
    Architecture(
        "qwen3",
        "qwen3",
        "Qwen3ForCausalLM",
        (
            *_EMBEDDINGS,
            *_NORMS,
            *_ATTENTION,
            *_HEAD_NORMS,
            *_FEED_FORWARD,
            *_optional(*_INPUT_BIASES, *_OUTPUT_BIAS),
        ),
    ),
    Architecture("gemma", "gemma", "GemmaForCausalLM", _gemma(*_EMBEDDINGS, *_NORMS, *_ATTENTION, *_FEED_FORWARD)),
    Architecture(
        "gemma2",
        "gemma2",
        "Gemma2ForCausalLM",
        _gemma(
            *_EMBEDDINGS,
            *_FOUR_NORMS,
            *_ATTENTION,
            *_FEED_FORWARD,
        ),
    ),
    Architecture(
        "gemma3",
        "gemma3_text",
        "Gemma3ForCausalLM",
        _gemma(
            *_EMBEDDINGS,
            *_FOUR_NORMS,
            *_ATTENTION,
            *_HEAD_NORMS,
            *_FEED_FORWARD,
        ),
    ),
    Architecture(
        "phi3",
        "phi3",
        "Phi3ForCausalLM",
        (
            *_EMBEDDINGS,
            *_NORMS,
            Rule("blk.{i}.attn_qkv.weight", "model.layers.{i}.self_attn.qkv_proj.weight", ("qkv", "hidden")),
            Rule("blk.{i}.attn_output.weight", "model.layers.{i}.self_attn.o_proj.weight", ("hidden", "query")),
            Rule("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.gate_up_proj.weight", ("two inner", "hidden")),
            Rule("blk.{i}.ffn_down.weight", "model.layers.{i}.mlp.down_proj.weight", ("hidden", "inner")),
        ),
    ),
)
ARCHITECTURES: Mapping[str, Architecture] = {entry.name: entry for entry in _ALL}

# Tensors that hold no weights but say how positions are rotated; gguf.rope turns them into configuration.
ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class Dimensions:
    """The sizes that every supported architecture has."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int

    def named(self) -> dict[str, int]:
        """The names that rules use."""
        query, key = self.heads * self.head, self.key_heads * self.head
        return {
            "hidden": self.hidden,
            "inner": self.inner,
            "two inner": 2 * self.inner,
            "head": self.head,
            "query": query,
            "key": key,
            "qkv": query + 2 * key,
            "vocabulary": self.vocabulary,
        }


def find_architecture(header: Header) -> Architecture:
    """The architecture of a file.

    Raises:
        Unsupported: it is not one of :data:`ARCHITECTURES`, or not a language model at all.
    """
    fields = Fields(header)
    kind = fields.text("general.type")
    if kind not in (None, "model"):
        raise Unsupported(
            t("{path} holds {kind}, not a language model", path=header.path, kind=repr(kind)),
            hint=t("Import the GGUF file of the model itself."),
        )
    name = header.architecture
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        near = did_you_mean(name, ARCHITECTURES)
        raise Unsupported(
            t(
                "{path} has the architecture {name!r}; these can be imported: {known}",
                path=header.path,
                name=name,
                known=known,
            )
            + (f" ({near})" if near else ""),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    if fields.integer(".expert_count", 0):
        raise Unsupported(
            t("{path} is a mixture of experts; only dense models can be imported from GGUF", path=header.path),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    return architecture


def read_dimensions(header: Header) -> Dimensions:
    """The sizes from the metadata, checked against each other.

    Raises:
        IntegrityError: one is missing, impossible, or contradicts another.
    """
    fields = Fields(header)
    hidden = fields.required(".embedding_length")
    heads = fields.required(".attention.head_count")
    key_heads = fields.integer(".attention.head_count_kv", heads, least=1)
    head = fields.integer(".attention.key_length", least=1)
    if head is None:
        if hidden % heads:
            raise damaged(header.path, t("{heads} heads do not divide {hidden} dimensions", heads=heads, hidden=hidden))
        head = hidden // heads
    if fields.integer(".attention.value_length", head) != head:
        raise Unsupported(
            t("{path}: keys and values have different lengths, which no supported architecture has", path=header.path),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    if heads % key_heads:
        raise damaged(
            header.path, t("{key_heads} key heads do not divide {heads} heads", key_heads=key_heads, heads=heads)
        )
    if head % 2:
        raise damaged(header.path, t("heads of {head} dimensions cannot be rotated, the number is odd", head=head))
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise damaged(header.path, t("the tensor {name!r} is missing", name="token_embd.weight"))
    return Dimensions(
        hidden=hidden,
        inner=fields.required(".feed_forward_length"),
        layers=fields.required(".block_count"),
        heads=heads,
        key_heads=key_heads,
        head=head,
        vocabulary=embedding.shape[0],
    )


def place_tensors(header: Header, architecture: Architecture, dimensions: Dimensions) -> list[Placement]:
    """Where every tensor goes.

    Raises:
        IntegrityError: a tensor is missing or has another shape than the metadata says.
        Unsupported: there are tensors that the transformers model has no place for.
    """
    # Every layer has tensors of its own, so a file with fewer tensors than layers lies about one of both; this also
    # keeps a wrong number of layers from costing time.
    if dimensions.layers > len(header.tensors):
        raise damaged(
            header.path,
            t(
                "the metadata promises {layers} layers, but there are only {tensors} tensors",
                layers=dimensions.layers,
                tensors=len(header.tensors),
            ),
        )
    sizes = dimensions.named()
    left = {name: tensor for name, tensor in header.tensors.items() if name not in ROPE_TENSORS}
    placements = []
    for rule, source, target in _expand(architecture.rules, dimensions.layers):
        tensor = left.pop(source, None)
        if tensor is None:
            if rule.optional:
                continue
            raise damaged(header.path, t("the tensor {name!r} is missing", name=source))
        expected = tuple(sizes[name] for name in rule.shape)
        if tensor.shape != expected:
            raise damaged(
                header.path,
                t(
                    "tensor {name!r} has the shape {shape}, the metadata promises {expected}",
                    name=source,
                    shape=list(tensor.shape),
                    expected=list(expected),
                ),
            )
        heads = {Change.UNPERMUTE_QUERY: dimensions.heads, Change.UNPERMUTE_KEY: dimensions.key_heads}
        placements.append(Placement(tensor, target, rule.change, heads.get(rule.change, 1)))
    if left:
        raise Unsupported(
            t(
                "{path}: the architecture {name} has no place for {count} tensor(s), the first is {tensor!r}",
                path=header.path,
                name=architecture.name,
                count=len(left),
                tensor=next(iter(left)),
            ),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    _check_complete(header, placements, dimensions.layers)
    return placements


def _expand(rules: tuple[Rule, ...], layers: int) -> Iterator[tuple[Rule, str, str]]:
    for rule in rules:
        if "{i}" not in rule.source:
            yield rule, rule.source, rule.target
    for layer in range(layers):
        for rule in rules:
            if "{i}" in rule.source:
                yield rule, rule.source.replace("{i}", str(layer)), rule.target.replace("{i}", str(layer))


def _check_complete(header: Header, placements: list[Placement], layers: int) -> None:
    """Optional layer tensors must be in all layers or in none: a transformers model has one switch for all."""
    counts: dict[str, int] = {}
    for placement in placements:
        if placement.target.startswith("model.layers."):
            kind = placement.target.split(".", 3)[3]
            counts[kind] = counts.get(kind, 0) + 1
    for kind, count in counts.items():
        if count != layers:
            raise damaged(
                header.path, t("{kind} is in {count} of {layers} layers", kind=kind, count=count, layers=layers)
            )
