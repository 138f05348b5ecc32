"""One conversation: its messages, options and totals. Knows nothing of the terminal."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmasos.cli.chat.backend import ChatModel
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.modeling.results import Delta, Timings, Usage

#: Tokens kept free for an answer when the context fills up, or a quarter of a small context.
ANSWER_ROOM = 512


@dataclass
class Totals:
    """What the conversation took since it began or was cleared."""

    answers: int = 0
    interrupted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass
class Session:
    """The state of a conversation with ``model``. ``options`` are what the person set; the model has the defaults."""

    model: ChatModel
    system: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    left_out: int = 0
    """How many of the oldest messages are no longer sent because the context is full."""
    totals: Totals = field(default_factory=Totals)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_usage: Usage | None = None
    last_timings: Timings | None = None
    last_finish: str | None = None

    def __post_init__(self) -> None:
        require_text(self.model)

    @property
    def remembers(self) -> bool:
        """Whether earlier messages are sent: a model without a chat template completes each text on its own."""
        return "chat" in self.model.capabilities

    def reply(self, text: str) -> Reply:
        """Ask ``text``. Iterate over the result for the pieces of the answer, then the messages are recorded."""
        return Reply(self, text)

    def use(self, model: ChatModel) -> None:
        """Go on with another model; the messages stay, and all of them are sent again if they fit.

        Raises:
            Unsupported: it cannot make text.
        """
        require_text(model)
        self.model = model
        self.left_out = 0

    def set_system(self, text: str | None) -> None:
        """Set or remove the system message.

        Raises:
            InvalidRequest: the model has no chat template and so no place for one.
        """
        if text is not None and not self.remembers:
            raise InvalidRequest(
                t("{model} has no chat template, so it takes no system message", model=self.model.name),
                hint=t("Put the instruction into the text itself, or take an instruct model."),
            )
        self.system = text

    def clear(self) -> None:
        """Forget the messages and totals; the system message and options stay."""
        self.messages.clear()
        self.left_out = 0
        self.totals = Totals()
        self.created = datetime.now(UTC)
        self.last_usage = self.last_timings = self.last_finish = None


def require_text(model: ChatModel) -> None:
    """Refuse a model that cannot hold a conversation.

    Raises:
        Unsupported: it cannot make text.
    """
    if "generate" not in model.capabilities:
        raise Unsupported(
            t(
                "{name} does not write text; it can: {verbs}",
                name=model.name,
                verbs=", ".join(sorted(model.capabilities)),
            ),
            hint=t("Take a generative model, for example `llmasos run smollm2:135m-instruct`."),
        )


class Reply:
    """One answer under way. ``dropped`` is how many more messages had to be left out so that it fits."""

    def __init__(self, session: Session, text: str) -> None:
        self._session = session
        self._text = text
        self._parts: list[str] = []
        self.tokens = 0
        self.dropped = 0
        self.finished = False

    def __iter__(self) -> Generator[str, None, None]:
        """Pieces of the answer's text. Closing the iterator stops the model and records what there is.

        Raises:
            ContextLengthExceeded: the message alone does not fit.
        """
        session = self._session
        try:
            for delta in self._deltas():
                self.tokens += len(delta.token_ids)
                if delta.finish_reason is not None:
                    self.finished = True
                    session.last_finish = delta.finish_reason
                    session.last_usage = delta.usage
                    session.last_timings = delta.timings
                if delta.text:
                    self._parts.append(delta.text)
                    yield delta.text
        finally:
            self._record()

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def _deltas(self) -> Iterator[Delta]:
        """The model's stream, with the oldest exchanges left out until prompt and answer have room."""
        session = self._session
        if session.remembers:
            before = session.left_out
            while self._is_full() and (step := self._oldest_exchange()):
                session.left_out += step
            self.dropped = session.left_out - before
        return session.model.stream(self._prompt(), **session.options)

    def _is_full(self) -> bool:
        """Whether the prompt leaves too little room for an answer."""
        session = self._session
        limit = session.model.context_length
        if limit is None:
            return False
        room = session.options.get("max_tokens") or min(ANSWER_ROOM, limit // 4)
        return session.model.prompt_tokens(self._messages()) + room > limit

    def _messages(self) -> list[dict[str, str]]:
        session = self._session
        system = [{"role": "system", "content": session.system}] if session.system else []
        return [*system, *session.messages[session.left_out :], {"role": "user", "content": self._text}]

    def _prompt(self) -> str | list[dict[str, str]]:
        return self._messages() if self._session.remembers else self._text

    def _oldest_exchange(self) -> int:
        """Messages up to the next one of the person, so that roles keep alternating; 0 if there are none."""
        session = self._session
        kept = session.messages[session.left_out :]
        for index, message in enumerate(kept[1:], start=1):
            if message["role"] == "user":
                return index
        return len(kept)

    def _record(self) -> None:
        """Remember the exchange if there was an answer: a question without one would break the roles' order."""
        session = self._session
        if not self.text and not self.finished:
            session.left_out -= self.dropped
            return
        session.messages += [{"role": "user", "content": self._text}, {"role": "assistant", "content": self.text}]
        session.totals.answers += 1
        if self.finished and session.last_usage is not None:
            session.totals.prompt_tokens += session.last_usage.prompt_tokens
            session.totals.completion_tokens += session.last_usage.completion_tokens
        else:
            session.totals.interrupted += 1
            session.totals.completion_tokens += self.tokens
            session.last_finish = "cancelled"
        if self.finished and session.last_timings is not None:
            session.totals.seconds += session.last_timings.total_seconds
