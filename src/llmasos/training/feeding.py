"""From the data of a recipe to batches for training and validation, with an account of what was kept and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmasos.data.batches import Batch, collate
from llmasos.data.output.publish import plan_inputs
from llmasos.data.packing import Packing, Unpacked, join, plan
from llmasos.data.rendering import RenderingAccount
from llmasos.data.token_cache import CachedTokens, Samples, TokenCache
from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.i18n import t
from llmasos.library.metadata import LineageInput
from llmasos.modeling.folder import Family
from llmasos.training import limits
from llmasos.training.batches import AnyBatch, Batches, BatchSet, ClassBatch, PairBatch, TransferBatch
from llmasos.training.opening import OpenedModel
from llmasos.training.order import Order, Share
from llmasos.training.recipe.kinds import ClassifyRecipe, TrainingRecipe
from llmasos.training.rows import DataRows, RowSet


@dataclass(frozen=True)
class SetAccount:
    """What became of the rows of one set.

    Attributes:
        rows: rows used; ``unreadable`` of the files besides, by reason.
        left_out: rows not used, by reason.
        rendering: from rows to tokens.
        sequences: sequences of an epoch, of at most ``capacity`` tokens.
        tokens: tokens of an epoch, ``trained`` those learned; ``places``: with the padding that is computed too, as
            in the first epoch.
    """

    name: str
    rows: int
    unreadable: dict[str, int]
    left_out: dict[str, int]
    rendering: RenderingAccount
    sequences: int
    capacity: int
    tokens: int
    trained: int
    places: int

    def notes(self) -> list[str]:
        """What a person should know, in sentences, numbers first."""
        padding = 1 - self.tokens / self.places if self.places else 0.0
        notes = [
            t("{set}: {rows} rows, {samples} samples, {sequences} sequences of at most {capacity} tokens",
              set=self.name, rows=f"{self.rows:,}", samples=f"{self.rendering.samples:,}",
              sequences=f"{self.sequences:,}", capacity=f"{self.capacity:,}"),
            t("{set}: {tokens} tokens, {padding} padding",
              set=self.name, tokens=f"{self.tokens:,}", padding=f"{padding:.1%}"),
        ]  # fmt: skip
        if self.trained:
            notes[1] = t("{set}: {tokens} tokens, {trained} of them learned; {padding} padding",
                         set=self.name, tokens=f"{self.tokens:,}", trained=f"{self.trained:,}",
                         padding=f"{padding:.1%}")  # fmt: skip
        for reason, count in self.unreadable.items():
            notes.append(
                t("{set}: {count} record(s) could not be read: {reason}", set=self.name, count=count, reason=reason)
            )
        reasons = {
            "in_validation": t("their input is in the validation data too"),
            "over_limit": t("more than the limit of the recipe"),
        }
        for reason, count in self.left_out.items():
            notes.append(
                t("{set}: {count} row(s) left out: {reason}", set=self.name, count=count, reason=reasons[reason])
            )
        notes += [f"{self.name}: {note}" for note in self.rendering.notes()]
        return notes


@dataclass(frozen=True)
class GenerationSample:
    """A validation sample for which the model's own answer can be shown.

    Attributes:
        prompt: (P,) token ids that the model goes on from (of the encoder, for an encoder-decoder model).
        text: the prompt as text.
        expected: the answer of the data.
    """

    prompt: NDArray[np.int64]
    text: str
    expected: str


@dataclass
class Feeds:
    """What a run learns from and is measured on.

    Attributes:
        train: micro-batches; see :class:`~llmasos.training.batches.Batches`.
        validation: ``None`` if the recipe names none.
        micro_batch_size: sequences of a micro-batch.
        train_account, validation_account: what was read, kept and dropped.
        class_counts: training samples of each class; empty unless the kind is classify.
        samples: for generation samples during training.
        inputs: the sources by their digests, for the lineage.
        notes: what the user should see before training starts, in sentences.
        rows: where the rows came from; :meth:`origins` names some.
    """

    train: Batches
    validation: Batches | None
    micro_batch_size: int
    train_account: SetAccount
    validation_account: SetAccount | None
    class_counts: tuple[int, ...]
    samples: tuple[GenerationSample, ...]
    inputs: tuple[LineageInput, ...]
    notes: tuple[str, ...]
    rows: DataRows

    def origins(self, numbers: Sequence[int]) -> list[str]:
        """File and line of training rows by their numbers; reads the sources up to the last of them."""
        wanted = set(numbers)
        found: dict[int, str] = {}
        for number, row in enumerate(self.rows.train.rows()):
            if number in wanted:
                found[number] = str(row.origin)
                if len(found) == len(wanted):
                    break
        return [found[number] for number in numbers if number in found]


def feed(
    recipe: TrainingRecipe,
    opened: OpenedModel,
    rows: DataRows,
    *,
    cache: TokenCache,
    rank: int = 0,
    world: int = 1,
    device: str = "cpu",
) -> Feeds:
    """Render rows (or find their tokens in the cache) and plan the batches.

    Raises:
        InvalidRequest: nothing is left to learn; a label is missing; the message says what and where.
        InvalidRecipe: keys do not fit the kind, the method or the model.
        ContextLengthExceeded: a row is too long and the policy is to stop.
        UnstableTemplate: the chat template allows no exact mask.
    """
    check_kind(recipe, rows.kind)
    packing, remark = limits.packing(recipe, packable=opened.packable)
    train = _tokens(recipe, opened, rows.train, cache, t("training"))
    held = None if rows.validation is None else _tokens(recipe, opened, rows.validation, cache, t("validation"))
    if recipe.evaluation.samples and held is None:
        raise InvalidRecipe(
            t("evaluation.samples = {count}, and there are no validation rows", count=recipe.evaluation.samples),
            hint=t("Give data.validation or data.validation_share, or name evaluation.prompts."),
        )
    capacity = limits.sequence_length(recipe, opened.context_length)
    sequences = _sequences(train, packing, capacity)
    size = limits.micro_batch_size(
        recipe, tokens=float(np.mean([_length(train, item) for item in sequences])), world=world, device=device
    )
    share = Share(rank, world)
    batch_size = recipe.trainer.batch_size
    learned = _PlannedBatches(train, opened, sequences, batch_size, size, recipe.seed, share)
    accounts = [_account(t("training"), rows.train, train, learned, capacity)]
    validation = None
    if held is not None and rows.validation is not None:
        held_sequences = _sequences(held, packing, capacity)
        validation = _PlannedBatches(held, opened, held_sequences, size * world, size, None, share)
        accounts.append(_account(t("validation"), rows.validation, held, validation, capacity))
    notes = [note for account in accounts for note in account.notes()]
    return Feeds(
        train=learned,
        validation=validation,
        micro_batch_size=size,
        train_account=accounts[0],
        validation_account=accounts[1] if held is not None else None,
        class_counts=_class_counts(recipe, opened, train),
        samples=() if held is None else _samples(opened, held, recipe.evaluation.samples),
        inputs=tuple(
            item
            for role, read in zip(("train", "validation"), rows.plans, strict=False)
            for item in plan_inputs(read.sources, role)
        ),
        notes=(*notes, *([remark] if remark is not None else [])),
        rows=rows,
    )


# --- tokens ----------------------------------------------------------------------------------------------------------

_PARTS = {
    "pretrain": ("text",),
    "sft": ("text",),
    "classify": ("text",),
    "seq2seq": ("source", "target"),
    "reward": ("chosen", "rejected"),
}
_SAMPLES = {
    "pretrain": ("text",),
    "sft": ("messages", "prompt_completion", "label", "parallel"),
    "classify": ("label",),
    "seq2seq": ("parallel",),
    "reward": ("preference",),
}


def check_kind(recipe: TrainingRecipe, kind: str) -> None:
    """Raise unless a recipe can learn from samples of a kind.

    Raises:
        InvalidRecipe: it cannot.
    """
    form = {"label": recipe.data.rendering.labels.kind, "parallel": recipe.data.rendering.parallel.kind}
    allowed = kind in _SAMPLES[recipe.kind]
    if allowed and recipe.kind == "sft" and form.get(kind, "answer") not in ("answer", "prompt"):
        raise InvalidRecipe(
            t("a recipe of kind sft learns answers, and rows of kind {kind} are rendered as {form}",
              kind=kind, form=form[kind]),
            hint=t("Write rendering: {{labels: {{kind: answer}}}} or {{parallel: {{kind: prompt}}}}, or choose kind: "
                   "classify or seq2seq."),
        )  # fmt: skip
    if allowed and recipe.kind in ("classify", "seq2seq") and form[kind] not in ("class", "sequences"):
        raise InvalidRecipe(
            t("a recipe of kind {recipe} cannot learn rows rendered as {form}", recipe=recipe.kind, form=form[kind]),
            hint=t("Leave rendering.labels and rendering.parallel out, or choose kind: sft."),
        )
    if not allowed:
        raise InvalidRecipe(
            t("a recipe of kind {recipe} cannot learn from rows of kind {kind}", recipe=recipe.kind, kind=kind),
            hint=t("It reads {kinds}; the key layout of a source says what its columns mean.",
                   kinds=", ".join(_SAMPLES[recipe.kind])),
        )  # fmt: skip


def _tokens(recipe: TrainingRecipe, opened: OpenedModel, rows: RowSet, cache: TokenCache, name: str) -> CachedTokens:
    tokens = cache.tokens(opened.renderer, rows.rows, rows_digest=rows.digest)
    unknown = [item for item in tokens.rejected if item.rejection.reason == "unknown_label"]
    if unknown:
        raise InvalidRequest(
            t("{set}: {count} row(s) have a label that is not among the classes; the first: row {row}, {detail}",
              set=name, count=len(unknown), row=unknown[0].row + 1, detail=unknown[0].rejection.detail),
            hint=t("The classes are those of the key labels, else of the training rows: {labels}.",
                   labels=", ".join(opened.labels)),
        )  # fmt: skip
    if not len(tokens):
        reasons = "; ".join(tokens.account.notes()) or t("there are no rows")
        raise InvalidRequest(
            t("{set}: no sample is left: {reasons}", set=name, reasons=reasons),
            hint=t("`llmasos data preview` shows how rows become tokens; max_length and overlong say what is dropped."),
        )
    assert tuple(tokens.parts) == _PARTS[recipe.kind], tokens.parts.keys()
    if not isinstance(recipe, ClassifyRecipe) and not tokens.account.trained:
        raise InvalidRequest(
            t("{set}: not one token is learned", set=name),
            hint=t("Look at rendering.learn, and at a row with `llmasos data preview --model ...`."),
        )
    return tokens


def _class_counts(recipe: TrainingRecipe, opened: OpenedModel, tokens: CachedTokens) -> tuple[int, ...]:
    if not isinstance(recipe, ClassifyRecipe):
        return ()
    assert tokens.labels is not None
    counts = np.bincount(tokens.labels, minlength=len(opened.labels))
    missing = [name for name, count in zip(opened.labels, counts, strict=True) if not count]
    if missing:
        raise InvalidRequest(
            t("no training row has the label {labels}", labels=", ".join(repr(name) for name in missing)),
            hint=t("Take it out of the key labels, or add rows that have it."),
        )
    return tuple(int(count) for count in counts)


def _samples(opened: OpenedModel, tokens: CachedTokens, count: int) -> tuple[GenerationSample, ...]:
    """The first validation samples, by a fixed chance, each with its first learned answer."""
    tokenizer = opened.renderer.tokenizer
    chosen = np.random.default_rng(0).permutation(len(tokens))[:count]
    found = []
    for number in chosen:
        if opened.family is Family.SEQ2SEQ:
            source, target = tokens.parts["source"][int(number)], tokens.parts["target"][int(number)]
            prompt, answer, reader = source.ids, target.ids, tokenizer.target
        else:
            text = tokens.parts[next(iter(tokens.parts))][int(number)]
            start = int(np.argmax(text.trained))
            rest = text.trained[start:]
            end = start + (len(rest) if rest.all() else int(np.argmin(rest)))
            prompt, answer, reader = text.ids[:start], text.ids[start:end], tokenizer
        found.append(
            GenerationSample(
                np.asarray(prompt, np.int64), tokenizer.decode(prompt.tolist()), reader.decode(answer.tolist())
            )
        )
    return tuple(found)


# --- batches ---------------------------------------------------------------------------------------------------------

Sequences = Sequence[tuple[int, ...]]
"""For each sequence the numbers of the samples that stand in it."""


def _sequences(tokens: CachedTokens, packing: Packing, capacity: int) -> Sequences:
    if isinstance(packing, Unpacked):
        return [(number,) for number in range(len(tokens))]
    (part,) = tokens.parts.values()
    return list(plan((int(length) for length in part.lengths), capacity, packing))


def _length(tokens: CachedTokens, samples: tuple[int, ...]) -> int:
    return sum(len(part[number]) for part in tokens.parts.values() for number in samples)


class _PlannedBatches(BatchSet):
    """Batches of rendered samples, put together when they are asked for."""

    def __init__(
        self,
        tokens: CachedTokens,
        opened: OpenedModel,
        sequences: Sequences,
        batch_size: int,
        micro_batch_size: int,
        seed: int | None,
        share: Share,
    ) -> None:
        lengths = np.zeros(len(tokens), np.int64)
        for part in tokens.parts.values():
            lengths += part.lengths
        self.lengths = np.array([sum(int(lengths[number]) for number in item) for item in sequences], np.int64)
        order = Order(self.lengths, batch_size=batch_size, micro_batch_size=micro_batch_size, seed=seed, share=share)
        super().__init__(order)
        self._tokens = tokens
        self._sequences = sequences
        self._padless = opened.packable
        pad = opened.renderer.tokenizer.special.id("pad")
        self._padding_id = 0 if pad is None else pad

    def rows(self, sequences: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(self._tokens.rows[number]) for sequence in sequences for number in self._sequences[sequence])

    def make(self, sequences: Sequence[int], *, counts: bool) -> AnyBatch:
        chosen = [self._sequences[number] for number in sequences]
        parts = {name: self._collated(part, chosen) for name, part in self._tokens.parts.items()}
        firsts = [samples[0] for samples in chosen]
        batch: AnyBatch
        match parts:
            case {"chosen": better, "rejected": worse}:
                batch = PairBatch(better, worse, np.ones(len(chosen), np.bool_))
            case {"source": source, "target": target}:
                batch = TransferBatch(source, target)
            case {"text": text} if self._tokens.labels is not None:
                batch = ClassBatch(text, np.asarray(self._tokens.labels[firsts], np.int64))
            case _:
                batch = parts["text"]
        return batch if counts else batch.uncounted()

    def _collated(self, part: Samples, sequences: Sequences) -> Batch:
        return collate(
            [join([part[number] for number in samples]) for samples in sequences], padding_id=self._padding_id
        )

    def places(self) -> int:
        """Tokens and padding of the first epoch, over all processes."""
        if self._padless:
            return int(self.lengths.sum())
        lengths = [part.lengths for part in self._tokens.parts.values()]
        total = 0
        for micro in self.order.whole_epoch():
            samples = [number for sequence in micro for number in self._sequences[sequence]]
            total += len(micro) * sum(int(part[samples].max()) for part in lengths)
        return total


def _account(name: str, rows: RowSet, tokens: CachedTokens, batches: _PlannedBatches, capacity: int) -> SetAccount:
    account = tokens.account
    return SetAccount(
        name, rows.count, rows.unreadable, rows.left_out, account, len(batches.lengths), capacity, account.tokens,
        account.trained, batches.places(),
    )  # fmt: skip
