"""How long sequences are, what happens to longer texts and how sequences are filled, by the kind of recipe."""

from __future__ import annotations

from llmasos.data.packing import Packing, Unpacked
from llmasos.data.rendering.options import RenderingOptions, Split
from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.training.recipe.kinds import PretrainRecipe, SftRecipe, TrainingRecipe
from llmasos.training.recipe.methods import PrefixTuning, PromptTuning, PTuning

DEFAULT_LENGTH = 1024
"""Most tokens of a sequence where the recipe names none."""
TOKENS_AT_ONCE = 2048
"""Tokens of one forward pass that keep a CPU busy; more only need more memory."""
TOKENS_AT_ONCE_GPU = 16384


def sequence_length(recipe: TrainingRecipe, context_length: int) -> int:
    """Most tokens of a sequence, prompt vectors of the method not counted.

    Raises:
        InvalidRecipe: a length in the recipe is more than the model can read, or than another one allows.
    """
    data = recipe.data
    limit = context_length - _vectors(recipe)
    if data.sequence_length is not None and data.rendering.max_length is not None:
        _at_most("data.rendering.max_length", data.rendering.max_length, data.sequence_length, "data.sequence_length")
    chosen = data.sequence_length or data.rendering.max_length
    if chosen is None:
        return max(min(limit, DEFAULT_LENGTH), 2)
    name = "data.sequence_length" if data.sequence_length is not None else "data.rendering.max_length"
    _at_most(name, chosen, limit, t("what the model can read"))
    return chosen


def _at_most(name: str, value: int, limit: int, what: str) -> None:
    if value > limit:
        raise InvalidRecipe(
            t("{name} = {value}: at most {limit} ({what})", name=name, value=value, limit=limit, what=what),
            hint=t("Lower it."),
        )


def _vectors(recipe: TrainingRecipe) -> int:
    method = recipe.method
    return method.tokens if isinstance(method, PromptTuning | PrefixTuning | PTuning) else 0


def rendering_options(recipe: TrainingRecipe, context_length: int) -> RenderingOptions:
    """The options of rendering with the limit filled in.

    Texts for pretraining that are longer are divided unless the recipe says otherwise: each piece begins with the last
    token of the piece before, so that every token is learned once and none is lost.
    """
    options = recipe.data.rendering
    limit = options.max_length or sequence_length(recipe, context_length)
    changes: dict[str, object] = {"max_length": limit}
    if isinstance(recipe, PretrainRecipe) and "overlong" not in options.model_fields_set:
        changes["overlong"] = Split(overlap=1)
    return options.model_copy(update=changes)


def packing(recipe: TrainingRecipe, *, packable: bool) -> tuple[Packing, str | None]:
    """How sequences are filled, and a remark if that is not what the recipe's default says.

    Args:
        packable: whether the model keeps documents in one sequence apart.

    Raises:
        InvalidRecipe: the recipe asks for packing where it is not possible.
    """
    wanted = recipe.data.packing
    asked = "packing" in recipe.data.model_fields_set and not isinstance(wanted, Unpacked)
    why = None
    if not isinstance(recipe, PretrainRecipe | SftRecipe):
        why = t("recipes of kind {kind} have one text, or pair of texts, a sequence", kind=recipe.kind)
    elif isinstance(recipe.method, PromptTuning | PrefixTuning | PTuning):
        why = t("with {method} every text has vectors of its own before it", method=recipe.method.kind)
    elif not packable:
        why = t("the attention of this model does not keep the documents of a sequence apart")
    if why is None:
        return wanted, None
    if asked:
        raise InvalidRecipe(
            t("data.packing = {value} is not possible: {reason}", value=wanted.kind, reason=why),
            hint=t("Write packing: {{kind: none}}, or leave it out."),
        )
    remarkable = isinstance(recipe, PretrainRecipe | SftRecipe) and not isinstance(wanted, Unpacked)
    return Unpacked(), t("sequences are not packed: {reason}", reason=why) if remarkable else None


def micro_batch_size(recipe: TrainingRecipe, *, tokens: float, world: int, device: str) -> int:
    """Sequences of a forward pass: the recipe's, else what keeps the device busy without needless memory.

    Args:
        tokens: mean tokens of a sequence.
        world: processes that share a batch.

    Raises:
        InvalidRecipe: the batch cannot be shared evenly.
    """
    batch, given = recipe.trainer.batch_size, recipe.trainer.micro_batch_size
    if batch % world:
        raise InvalidRecipe(
            t("trainer.batch_size = {value}: not a multiple of the {world} processes", value=batch, world=world),
            hint=t("Choose a multiple, such as {value}.", value=-(-batch // world) * world),
        )
    if given is not None:
        if batch % (given * world):
            raise InvalidRecipe(
                t("trainer.batch_size = {batch}: not a multiple of micro_batch_size ({micro}) times {world} processes",
                  batch=batch, micro=given, world=world),
                hint=t("Choose a multiple, such as {value}.", value=-(-batch // (given * world)) * given * world),
            )  # fmt: skip
        return given
    share = batch // world
    most = TOKENS_AT_ONCE if device.startswith("cpu") else TOKENS_AT_ONCE_GPU
    fitting = max(int(most / max(tokens, 1.0)), 1)
    return max(size for size in range(1, share + 1) if share % size == 0 and size <= max(fitting, 1))
