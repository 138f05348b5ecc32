"""From prompts to tokens, for backends that have the tokenizer: what is sent, and where a continuation begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from llmasos.evaluation.backends.protocol import PromptInput
from llmasos.modeling.chat_template import ChatTemplate, missing_template
from llmasos.modeling.prompt import Prompt, Segment
from llmasos.modeling.tokenizer import Tokenizer


class PromptEncoder:
    """Encodes prompts with one tokenizer and, for conversations, one template.

    Args:
        tokenizer: of the model.
        template: ``None``: the model has none.
        reference: of the model, for messages.
        begin_id: token that stands before a text without any other context.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate | None, reference: str, begin_id: int | None
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._known: frozenset[str] = frozenset() if template is None else template.variables()
        self._reference = reference
        self.begin_id = begin_id
        # The choices of a sample ask for the same prompt one after the other.
        self._context = lru_cache(maxsize=64)(self._encode_text)

    def rendered(self, prompt: PromptInput) -> Prompt:
        """The prompt with the template applied.

        Raises:
            Unsupported: it is a conversation and the model has no template.
        """
        if prompt.messages is None:
            return Prompt((Segment(prompt.text),))
        if self.template is None:
            raise missing_template(self._reference)
        wishes = {name: value for name, value in prompt.wishes.items() if name in self._known}
        found = self.template.render(list(prompt.messages), variables={**wishes, **prompt.variables} or None)
        return _followed(found, prompt.answer_prefix)

    def prompt(self, prompt: PromptInput) -> tuple[str, list[int]]:
        """The prompt as sent, and its tokens; an empty one is the begin token."""
        if prompt.messages is None:
            return prompt.text, list(self._context(prompt.text)) or self._begin()
        rendered = self.rendered(prompt)
        return str(rendered), self.tokenizer.encode_prompt(rendered)

    def pair(self, prompt: PromptInput, continuation: str) -> tuple[str, list[int], list[int]]:
        """The prompt as sent, its tokens, and those of the continuation.

        Blanks at the end of the prompt belong to the continuation, and the continuation is what the tokens of both
        together have beyond those of the prompt: texts are cut into tokens as a model has seen them in training, and
        as lm-evaluation-harness does it, so that log-probabilities agree.
        """
        if prompt.messages is None:
            text = prompt.text.rstrip()
            continuation = prompt.text[len(text) :] + continuation
            if not text:
                return prompt.text, self._begin(), self.text(continuation)
            context = list(self._context(text))
            whole = self._encode_text(text + continuation)
            return prompt.text, *_cut(context, whole)
        rendered = self.rendered(prompt)
        if any(segment.literal for segment in rendered.segments):
            ids = self.tokenizer.encode_prompt(rendered)
            return str(rendered), ids, self.tokenizer.encode_continuation(Prompt((Segment(continuation),)))
        sent = str(rendered)
        text = sent.rstrip()
        before = self.tokenizer.encode_prompt(Prompt((Segment(text),)))
        both = self.tokenizer.encode_prompt(Prompt((Segment(sent + continuation),)))
        return sent, *_cut(before, both)

    def text(self, text: str) -> list[int]:
        """The tokens of a text without those that the tokenizer puts around it."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _encode_text(self, text: str) -> tuple[int, ...]:
        """A plain text as the model wants it: with the begin token where the tokenizer adds one, without an end."""
        encoded = self.tokenizer.encode(text)
        ids = encoded.ids
        end = len(ids)
        while end and encoded.special[end - 1]:
            end -= 1
        return tuple(ids[:end])

    def _begin(self) -> list[int]:
        return [] if self.begin_id is None else [self.begin_id]


def begin_token(tokenizer: Tokenizer) -> int | None:
    """The token before a text: the begin token, else the end token, which stands between texts in training."""
    begin = tokenizer.special.id("bos")
    return begin if begin is not None else tokenizer.special.id("eos")


def _followed(prompt: Prompt, text: str) -> Prompt:
    if not text:
        return prompt
    *before, last = prompt.segments
    if last.literal:
        return Prompt((*prompt.segments, Segment(text)))
    return Prompt((*before, Segment(last.text + text)))


def _cut(context: Sequence[int], whole: Sequence[int]) -> tuple[list[int], list[int]]:
    """The whole beyond as many tokens as the context has; at least its last token, for tokens may join at the edge."""
    edge = min(len(context), len(whole) - 1)
    return list(context[:edge]), list(whole[edge:])


def rolling_windows(tokens: Sequence[int], begin_id: int | None, window: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, predicted tokens) that predict every token of a text once, as lm-evaluation-harness cuts them.

    The model reads ``window`` tokens at most. The first window reads the begin token and predicts the first
    ``window`` tokens; each further one predicts the next ``window`` tokens and reads one token of context before
    them. The last reads as much context as there is room for beside what is left to predict.

    Args:
        tokens: of the text, without a begin token.
        begin_id: ``None``: the first token of the text is context, and is not predicted.
        window: tokens that the model reads at once, from 1.
    """
    whole = list(tokens) if begin_id is None else [begin_id, *tokens]
    done = 1
    while done < len(whole):
        end = min(done + window, len(whole))
        start = max(end - window - 1, 0)
        yield whole[start:done], whole[done:end]
        done = end
