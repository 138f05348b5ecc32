"""From rows to token ids and the mask of what is learned, many rows at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, time
from functools import lru_cache
from importlib import resources
from importlib.metadata import version
from itertools import islice
from typing import NamedTuple

import numpy as np

from llmasos.data.rendering.account import RenderingAccount
from llmasos.data.rendering.drafts import Draft, Drafter, Unsuitable, prompts_of
from llmasos.data.rendering.options import RenderingOptions, Split
from llmasos.data.rendering.overlong import fit
from llmasos.data.rendering.parts import Encoded
from llmasos.data.rendering.sample import RejectedRow, RenderedRow
from llmasos.data.rendering.turns import TurnFinder, UnstableTemplate
from llmasos.data.row import Label, Row, Sample
from llmasos.data.step import Rejection
from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.library.digest import digest_of
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.generation_defaults import end_ids
from llmasos.modeling.languages import Languages
from llmasos.modeling.prompt import EncodedPrompt
from llmasos.modeling.tokenizer import Tokenizer
from llmasos.modeling.tokenizer_files import load_chat_template, load_tokenizer

BATCH = 256
"""Rows rendered and encoded together: enough for the threads of the Rust library, little memory."""


class _Rendered(NamedTuple):
    """A batch of rows whose texts are being encoded."""

    first: int
    rows: Sequence[Row]
    outcomes: Sequence[list[Draft] | Rejection]
    encoded: Future[Iterator[EncodedPrompt]]


class Renderer:
    """Renders rows for one model.

    Args:
        template: the model's chat template; ``None`` for a base model.
        labels: names of the classes in the order of their numbers, for classification rows; see :func:`label_names`.
        stop_ids: tokens that end an answer, beside the tokenizer's own end token.
        languages: language codes of a multilingual translation model.
        context_length: what the model can read, the limit where the options name none.
        reference: what the user called the model; for messages.

    Raises:
        InvalidRequest: the options do not fit each other or the template.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        options: RenderingOptions | None = None,
        *,
        labels: Sequence[str] = (),
        stop_ids: Sequence[int] = (),
        languages: Languages | None = None,
        context_length: int | None = None,
        reference: str = "the model",
    ) -> None:
        self._arguments = {
            "labels": labels,
            "stop_ids": stop_ids,
            "languages": languages,
            "context_length": context_length,
            "reference": reference,
        }
        self.tokenizer = tokenizer
        self.template = template
        self.options = options or RenderingOptions()
        self.labels = tuple(labels)
        self.max_length = self.options.max_length or context_length
        overlong = self.options.overlong
        if isinstance(overlong, Split) and self.max_length is not None and overlong.overlap >= self.max_length:
            raise InvalidRequest(
                t("overlong.overlap = {overlap}: allowed is less than max_length ({limit})",
                  overlap=overlong.overlap, limit=self.max_length),
                hint=t("One token is enough for every token to be learned once."),
            )  # fmt: skip
        own = tokenizer.special.id("eos")
        stops = [*stop_ids, *([own] if own is not None else [])]
        end_text = tokenizer.special.texts.get("eos_token")
        today = self.options.today
        self.now = datetime.combine(today, time(12)) if today else datetime.now().astimezone()
        finder = None
        if template is not None:
            finder = TurnFinder(
                template,
                stop_tokens=tokenizer.pieces(stops),
                variables=self.options.variables,
                learn_end=self.options.learn_end,
                on_rewritten=self.options.rewritten_turns,
                now=self.now,
            )
        self._drafter = Drafter(
            tokenizer,
            finder,
            self.options,
            end=(end_text, own) if end_text is not None and own is not None else None,
            labels=labels,
            languages=languages,
            reference=reference,
        )
        self._start_token = tokenizer.special.id("bos")
        self._identity = [list(stops), sorted(languages.codes) if languages else None, self.max_length]

    @classmethod
    def of_model(
        cls, folder: ModelFolder, options: RenderingOptions | None = None, *, labels: Sequence[str] = ()
    ) -> Renderer:
        """The renderer of the model in a folder, with its own tokenizer, template, stop tokens and limit.

        Raises:
            Unsupported: the model has no tokenizer, or its template is not valid.
            IntegrityError: a file is damaged.
        """
        tokenizer = load_tokenizer(folder)
        languages = Languages(folder.model_type, tokenizer) if folder.family is Family.SEQ2SEQ else None
        limits = [limit for limit in (folder.context_length, tokenizer.maximum_length) if limit is not None]
        return cls(
            tokenizer,
            load_chat_template(folder, tokenizer),
            options,
            labels=labels or folder.labels,
            stop_ids=end_ids(folder, tokenizer),
            languages=languages,
            context_length=min(limits, default=None),
            reference=folder.reference,
        )

    def with_options(self, options: RenderingOptions) -> Renderer:
        """The renderer of the same model with other options."""
        return Renderer(self.tokenizer, self.template, options, **self._arguments)  # type: ignore[arg-type]

    @property
    def digest(self) -> str:
        """A SHA-256 of everything but the rows that decides which tokens come out: tokenizer, template, options, the
        date if the template writes it, and the code itself."""
        identity = {
            "tokenizer": self.tokenizer.digest,
            "template": self.template.sources if self.template else None,
            "options": self.options.model_dump(mode="json"),
            "labels": self.labels,
            "model": self._identity,
            "date": self.now.date().isoformat() if self.template and self.template.reads_clock() else None,
            "code": code_digest(),
        }
        return digest_of(json.dumps(identity, sort_keys=True, ensure_ascii=False).encode())

    def render(
        self, rows: Iterable[Row], account: RenderingAccount | None = None, *, first: int = 0
    ) -> Iterator[RenderedRow | RejectedRow]:
        """Render rows; every row gives one sample, several, or one rejection, in order.

        Args:
            account: the counts are added to it.
            first: number of the first row.

        Raises:
            UnstableTemplate: the template allows no exact mask for a row; that row is named.
            ContextLengthExceeded: a row is too long and the policy is to stop.
            Unsupported: conversations for a model without chat template.
        """
        account = account if account is not None else RenderingAccount()
        remaining = iter(rows)
        # Templates hold Python's lock and encoding does not: one batch is encoded while the next is rendered.
        with ThreadPoolExecutor(1, thread_name_prefix="encode") as encoder:
            before: _Rendered | None = None
            while batch := list(islice(remaining, BATCH)):
                outcomes = self._outcomes(batch)
                drafts = [draft for found in outcomes if isinstance(found, list) for draft in found]
                rendered = _Rendered(first, batch, outcomes, encoder.submit(self._encoded, drafts))
                first += len(batch)
                if before is not None:
                    yield from self._finish_batch(before, account)
                before = rendered
            if before is not None:
                yield from self._finish_batch(before, account)

    def render_sample(self, sample: Sample, account: RenderingAccount | None = None) -> list[RenderedRow]:
        """Render one sample.

        Raises:
            InvalidRequest: it cannot be rendered; the message says why.
        """
        account = account if account is not None else RenderingAccount()
        drafts = self._drafts(sample)
        if isinstance(drafts, Rejection):
            raise InvalidRequest(f"{drafts.reason}: {drafts.detail}")
        outcome = self._finish(0, "", drafts, self._encoded(drafts), account)
        rejections = [item.rejection for item in outcome if isinstance(item, RejectedRow)]
        if rejections:
            raise InvalidRequest(f"{rejections[0].reason}: {rejections[0].detail}")
        return [item for item in outcome if isinstance(item, RenderedRow)]

    def _outcomes(self, rows: Sequence[Row]) -> list[list[Draft] | Rejection]:
        found = []
        for row in rows:
            try:
                found.append(self._drafts(row.sample))
            except UnstableTemplate as error:
                raise UnstableTemplate(f"{row.origin}: {error.message}", hint=error.hint) from error
        return found

    def _finish_batch(self, batch: _Rendered, account: RenderingAccount) -> Iterator[RenderedRow | RejectedRow]:
        encoded = batch.encoded.result()
        for number, (row, drafts) in enumerate(zip(batch.rows, batch.outcomes, strict=True), batch.first):
            account.rows += 1
            if isinstance(drafts, Rejection):
                account.rejected[drafts.reason] += 1
                yield RejectedRow(number, drafts)
            else:
                yield from self._finish(number, str(row.origin), drafts, encoded, account)

    def _drafts(self, sample: Sample) -> list[Draft] | Rejection:
        try:
            return self._drafter.drafts(sample)
        except Unsuitable as unsuitable:
            return unsuitable.rejection
        except UnstableTemplate:
            raise
        except InvalidRequest as error:
            if self.template is None:
                raise
            return Rejection("refused_by_template", error.message)

    def _encoded(self, drafts: Sequence[Draft]) -> Iterator[EncodedPrompt]:
        return iter(self.tokenizer.encode_prompts(list(prompts_of(drafts))))

    def _finish(
        self,
        number: int,
        where: str,
        drafts: Sequence[Draft],
        encoded: Iterator[EncodedPrompt],
        account: RenderingAccount,
    ) -> list[RenderedRow | RejectedRow]:
        """Put tokens together, make them fit, count them. Takes the tokens of all drafts from ``encoded``."""
        samples: list[RenderedRow | RejectedRow] = []
        rejections: list[Rejection] = []
        for draft in drafts:
            parts = {name: part.assemble([next(encoded) for _ in part.prompts]) for name, part in draft.parts.items()}
            account.escaped.update(draft.escaped)
            if draft.rewritten is not None:
                account.rewritten += 1
                account.rewritten_samples += draft.rewritten[0]
                account.turns_left_out += draft.rewritten[1]
            fitted = self._fitted(parts, where, account)
            if isinstance(fitted, Rejection):
                rejections.append(fitted)
                continue
            for sequences in fitted:
                _count(sequences, account)
                rendered = {name: sequence.as_sample() for name, sequence in sequences.items()}
                samples.append(RenderedRow(number, rendered, draft.label))
        if samples:
            account.left_out.update(rejection.reason for rejection in rejections)
            return samples
        account.rejected[rejections[0].reason] += 1
        return [RejectedRow(number, rejections[0])]

    def _fitted(
        self, parts: Mapping[str, Encoded], where: str, account: RenderingAccount
    ) -> list[Mapping[str, Encoded]] | Rejection:
        learned = [name for name, part in parts.items() if part.learned]
        if "text" in parts and parts["text"].pair is None:
            learned = ["text"]
        for name in learned:
            if not np.count_nonzero(parts[name].trained):
                return Rejection("nothing_trained", f"{name}: {len(parts[name])} tokens, none to learn")
        return fit(parts, self.options.overlong, self.max_length, account, start_token=self._start_token, where=where)


def _count(sequences: Mapping[str, Encoded], account: RenderingAccount) -> None:
    account.samples += 1
    for sequence in sequences.values():
        account.tokens += len(sequence)
        account.trained += int(np.count_nonzero(sequence.trained))
        account.crossing += sequence.crossing
        for text in sequence.learned:
            account.empty += text.end_learned and text.end - text.start == 1
            if text.end_token is None:
                account.ends_missing += 1
            elif text.end_learned:
                account.ends_trained[text.end_token] += 1
            else:
                account.ends_untrained += 1


def label_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """The labels of classification rows, sorted: the numbers of the classes must not depend on the rows' order."""
    return tuple(sorted({row.sample.label for row in rows if isinstance(row.sample, Label)}))


@lru_cache
def code_digest() -> str:
    """A SHA-256 of the code and the packages that rendering depends on, so that no cache outlives a change of them."""
    hasher = hashlib.sha256()
    for package in ("jinja2", "tokenizers"):
        hasher.update(f"{package} {version(package)}\n".encode())
    for package in ("llmasos.data.rendering", "llmasos.modeling"):
        for file in sorted(resources.files(package).iterdir(), key=lambda item: item.name):
            if file.name.endswith(".py"):
                hasher.update(f"{package}/{file.name}\n".encode() + file.read_bytes())
    return "sha256:" + hasher.hexdigest()
