"""From a sample of any kind to the sequences that it becomes, with its texts rendered and not yet encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

from llmasos.data.rendering.edges import Edges, edges_of, pair_edges_of
from llmasos.data.rendering.options import AsAnswer, AsPrompt, LearnEverything, LearnRoles, RenderingOptions
from llmasos.data.rendering.parts import ClassifiedPart, ConversationPart, Part, PlainPart, TokensPart
from llmasos.data.rendering.turns import MarkedConversations, TurnFinder
from llmasos.data.row import (
    Label,
    Message,
    Messages,
    Parallel,
    Preference,
    PromptCompletion,
    Sample,
    Text,
    UnpairedPreference,
)
from llmasos.data.step import Rejection
from llmasos.modeling.chat_template import missing_template
from llmasos.modeling.control_tokens import ControlTokens
from llmasos.modeling.languages import Languages
from llmasos.modeling.prompt import Prompt
from llmasos.modeling.tokenizer import Encoded, Tokenizer


@dataclass(frozen=True, slots=True)
class Draft:
    """The sequences of one sample by name, and its class or judgement.

    Attributes:
        escaped: control tokens that its texts spell; not repeated in the drafts that a conversation is split into.
        rewritten: further samples made because the template rewrites earlier answers, and answers left out; ``None``
            where it does not.
    """

    parts: Mapping[str, Part]
    label: int | None = None
    escaped: tuple[str, ...] = ()
    rewritten: tuple[int, int] | None = None


class Unsuitable(Exception):  # noqa: N818 - says what the row is
    """A row that cannot be rendered; carries the rejection."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.rejection = Rejection(reason, detail)


class Drafter:
    """Knows how each kind of sample is rendered for one model.

    Args:
        finder: renders conversations; ``None`` for a model without chat template.
        end: text and id of the token that ends plain texts, if the tokenizer has one.
        labels: names of the classes, in the order of their numbers.
        reference: what the user called the model; for messages.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        finder: TurnFinder | None,
        options: RenderingOptions,
        *,
        end: tuple[str, int] | None,
        labels: Sequence[str] = (),
        languages: Languages | None = None,
        reference: str = "",
    ) -> None:
        self._tokenizer = tokenizer
        self._finder = finder
        self._options = options
        self._end = end
        self._labels = {name: number for number, name in enumerate(labels)}
        self._languages = languages
        self._reference = reference
        self._control = ControlTokens.of(tokenizer.added_tokens)
        self._everything = isinstance(options.learn, LearnEverything)

    def drafts(self, sample: Sample) -> list[Draft]:
        """The drafts of a sample; several where a conversation is split.

        Raises:
            Unsuitable: the row cannot be rendered.
            UnstableTemplate: no exact mask exists.
            InvalidRequest: the template refuses the conversation.
            Unsupported: the model has no chat template, or one without tools.
        """
        match sample:
            case Text():
                return [self._plain(self._control.escape(sample.text), None)]
            case Messages():
                return self._conversation(sample.messages, sample.tools)
            case PromptCompletion():
                return self._prompt_completion(sample)
            case Preference():
                chosen = self._answer(sample.prompt, sample.chosen)
                rejected = self._answer(sample.prompt, sample.rejected)
                parts = {"chosen": chosen.parts["text"], "rejected": rejected.parts["text"]}
                return [Draft(parts, escaped=chosen.escaped + rejected.escaped)]
            case UnpairedPreference():
                answer = self._answer(sample.prompt, sample.completion)
                return [Draft(answer.parts, int(sample.desirable), answer.escaped)]
            case Label():
                return self._label(sample)
            case Parallel():
                return self._parallel(sample)
            case _:
                assert_never(sample)

    # --- conversations -----------------------------------------------------------------------------------------

    def _conversation(self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]] = ()) -> list[Draft]:
        finder = self._need_template()
        if self._everything:
            whole = finder.whole(messages, tools)
            return [Draft({"text": ConversationPart(whole)}, escaped=tuple(whole.prompt.escaped))]
        found = finder.find(messages, self._learned(messages, 0), tools)
        last = len(found.samples) - 1
        return [
            Draft(
                {"text": ConversationPart(sample)},
                escaped=tuple(sample.prompt.escaped) if number == last else (),
                rewritten=(last, found.left_out) if found.rewritten and number == last else None,
            )
            for number, sample in enumerate(found.samples)
        ]

    def _learned(self, messages: Sequence[Message], first: int) -> list[int]:
        """Numbers of the messages to learn from message ``first`` on; what the data say themselves wins."""
        learn = self._options.learn
        assert isinstance(learn, LearnRoles)
        chosen = [
            index
            for index, message in enumerate(messages)
            if index >= first and (message.role in learn.roles if message.train is None else message.train)
        ]
        return chosen[-1:] if learn.turns == "last" else chosen

    def _answer(self, prompt: Sequence[Message], answer: Sequence[Message]) -> Draft:
        """A prompt with one of its answers, which is learned; the rest is not."""
        if not answer or not prompt:
            raise Unsuitable("unsuitable", "a preference needs a prompt and an answer")
        if not self._as_chat:
            if len(answer) > 1 or any(message.role != "user" for message in prompt[:-1]):
                raise Unsuitable("unsuitable", "a conversation, and the model has no chat template")
            text = "\n\n".join(message.content for message in prompt)
            return self._plain(self._control.escape(text), answer[0].content, divisible=False)
        finder = self._need_template()
        messages = [*prompt, *answer]
        if self._everything:
            found = MarkedConversations((finder.whole(messages),))
        else:
            found = finder.find(messages, self._learned(messages, len(prompt)))
        if found.rewritten:
            raise Unsuitable("unsuitable", "the chat template rewrites an earlier message of the answer")
        (sample,) = found.samples
        return Draft({"text": ConversationPart(sample, divisible=False)}, escaped=tuple(sample.prompt.escaped))

    @property
    def _as_chat(self) -> bool:
        style = self._options.style
        return style == "chat" or (style == "auto" and self._finder is not None)

    def _need_template(self) -> TurnFinder:
        if self._finder is None:
            raise missing_template(self._reference)
        return self._finder

    # --- plain texts -------------------------------------------------------------------------------------------

    def _prompt_completion(self, sample: PromptCompletion) -> list[Draft]:
        if self._as_chat:
            head = [] if sample.system is None else [Message("system", sample.system)]
            return self._conversation([*head, Message("user", sample.prompt), Message("assistant", sample.completion)])
        text = sample.prompt if sample.system is None else f"{sample.system}\n\n{sample.prompt}"
        return [self._plain(self._control.escape(text), sample.completion)]

    def _plain(self, prompt: Prompt, completion: str | None, *, divisible: bool = True) -> Draft:
        escaped = prompt.escaped
        ids = None
        if completion is not None:
            rest = self._control.escape(completion)
            ids = tuple(self._tokenizer.encode_continuation(rest))
            escaped = escaped + rest.escaped
        end = self._end if self._options.text_end else None
        part = PlainPart(prompt, self._edges, ids, end, learn_prompt=self._everything, divisible=divisible)
        return Draft({"text": part}, escaped=tuple(escaped))

    # --- classes and pairs of languages ------------------------------------------------------------------------

    def _label(self, sample: Label) -> list[Draft]:
        form = self._options.labels
        if isinstance(form, AsAnswer):
            prompt = form.prompt.format(text=sample.text, pair=sample.pair or "")
            return self._prompt_completion(PromptCompletion(prompt, sample.label))
        number = self._labels.get(sample.label)
        if number is None:
            raise Unsuitable("unknown_label", f"label {sample.label!r}")
        texts = [self._control.escape(text) for text in (sample.text, sample.pair) if text is not None]
        edges = self._edges if sample.pair is None else self._pair_edges
        escaped = tuple(token for text in texts for token in text.escaped)
        return [Draft({"text": ClassifiedPart(tuple(texts), edges)}, number, escaped)]

    def _parallel(self, sample: Parallel) -> list[Draft]:
        form = self._options.parallel
        if isinstance(form, AsPrompt):
            values = {
                "source": sample.source,
                "source_language": sample.source_language,
                "target_language": sample.target_language,
            }
            missing = [name for name, value in values.items() if value is None and f"{{{name}}}" in form.prompt]
            if missing:
                raise Unsuitable("unsuitable", f"the row does not say its {', '.join(missing)}")
            return self._prompt_completion(PromptCompletion(form.prompt.format(**values), sample.target))
        source, target = sample.source, self._control.escape(sample.target)
        codes = self._languages.codes if self._languages is not None else []
        if self._languages is not None and codes:
            named = (sample.source_language, sample.target_language)
            # Marian reads one language, and without a mark writes its usual one.
            needed = named if self._languages.marks_source else [code for code in named[1:] if code is not None]
            unknown = [repr(code) for code in needed if code not in codes]
            if unknown:
                raise Unsuitable("unsuitable", f"the model has no language {', '.join(unknown)}")
            source = self._languages.mark_text(source, sample.target_language)
        read = self._control.escape(source)
        parts = {
            "source": self._sequence(read, sample.source_language if codes else None, learned=False),
            "target": self._sequence(target, sample.target_language if codes else None, learned=True),
        }
        return [Draft(parts, escaped=(*read.escaped, *target.escaped))]

    def _sequence(self, text: Prompt, language: str | None, *, learned: bool) -> TokensPart:
        """A text as an encoder-decoder model reads it, or as it writes it."""
        tokenizer = self._tokenizer.target if learned else self._tokenizer
        edges = self._target_edges if learned else self._edges
        ids = [*edges.before, *tokenizer.encode_prompt(text), *edges.after]
        if self._languages is not None and self._languages.marks_source and language is not None:
            inner = len(ids) - edges.count
            special = [*([True] * len(edges.before)), *([False] * inner), *([True] * len(edges.after))]
            ids = self._languages.mark_source(Encoded(ids, [0] * len(ids), special, None), language).ids
        end = self._end[0] if self._end is not None and ids[-1:] == [self._end[1]] else None
        return TokensPart(ids, learned, len(edges.after), end)

    @cached_property
    def _target_edges(self) -> Edges:
        return edges_of(self._tokenizer.target)

    @cached_property
    def _edges(self) -> Edges:
        return edges_of(self._tokenizer)

    @cached_property
    def _pair_edges(self) -> Edges:
        return pair_edges_of(self._tokenizer)


def prompts_of(drafts: Sequence[Draft]) -> Iterator[Prompt]:
    """All texts to encode, in order."""
    for draft in drafts:
        for part in draft.parts.values():
            yield from part.prompts
