"""How samples become tokens: which are learned, what happens to those that are too long, how kinds are rendered."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LearnRoles(_Options):
    """Learn the messages of some roles: their text and the token that ends them."""

    kind: Literal["roles"] = "roles"
    roles: tuple[str, ...] = Field(("assistant",), min_length=1, description="Roles whose messages are learned.")
    turns: Literal["all", "last"] = Field("all", description="All messages of these roles, or only the last one.")


class LearnEverything(_Options):
    """Learn every token of the rendered text, prompts and control tokens included."""

    kind: Literal["everything"] = "everything"


Learn: TypeAlias = Annotated[LearnRoles | LearnEverything, Field(discriminator="kind")]


class Drop(_Options):
    """Leave out samples that are too long; each is counted and keeps its reason."""

    kind: Literal["drop"] = "drop"


class Truncate(_Options):
    """Cut samples that are too long. One that would keep no learned token is rejected."""

    kind: Literal["truncate"] = "truncate"
    side: Literal["end", "start"] = Field(
        "end", description="Where tokens are cut off. At the start, a sequence-start token stays."
    )


class Split(_Options):
    """Divide samples that are too long. Every learned token is learned once; pieces without one are left out."""

    kind: Literal["split"] = "split"
    overlap: int = Field(
        1, ge=1, description="Tokens repeated, as context and not learned again, at the start of each further piece."
    )


class Refuse(_Options):
    """Stop with an error at the first sample that is too long."""

    kind: Literal["error"] = "error"


Overlong: TypeAlias = Annotated[Drop | Truncate | Split | Refuse, Field(discriminator="kind")]


class AsClass(_Options):
    """A label is the number of a class, for models that classify."""

    kind: Literal["class"] = "class"


class AsAnswer(_Options):
    """A label is the answer to a prompt, for models that generate."""

    kind: Literal["answer"] = "answer"
    prompt: str = Field("{text}", description="The prompt; {text} and {pair} stand for the row's texts.")


Labels: TypeAlias = Annotated[AsClass | AsAnswer, Field(discriminator="kind")]


class AsSequences(_Options):
    """Source and target are two sequences, for encoder-decoder models."""

    kind: Literal["sequences"] = "sequences"


class AsPrompt(_Options):
    """The source stands in a prompt and the target is the answer, for models that generate."""

    kind: Literal["prompt"] = "prompt"
    prompt: str = Field(
        "{source}",
        description="The prompt; {source}, {source_language} and {target_language} stand for what the row says.",
    )


Parallels: TypeAlias = Annotated[AsSequences | AsPrompt, Field(discriminator="kind")]

_PLACES = {"labels": ("text", "pair"), "parallel": ("source", "source_language", "target_language")}


class RenderingOptions(_Options):
    """How samples become tokens."""

    learn: Learn = Field(LearnRoles(), description="Which tokens of a conversation are learned.")
    learn_end: bool = Field(
        True,
        description="Learn the token that ends a turn also where the template's generation blocks leave it out.",
    )
    rewritten_turns: Literal["split", "last", "error"] = Field(
        "split",
        description="What to do when the template shows an earlier answer otherwise than when it was given (reasoning "
        "taken out): render one sample for each such answer, learn only the last ones, or stop.",
    )
    max_length: int | None = Field(None, ge=2, description="Most tokens of a sample; default: what the model can read.")
    overlong: Overlong = Field(Drop(), description="What to do with samples that are longer.")
    style: Literal["auto", "chat", "plain"] = Field(
        "auto",
        description="How prompts and completions are rendered: as a conversation, as plain text one after the other, "
        "or as a conversation if the model has a chat template.",
    )
    text_end: bool = Field(True, description="End plain texts with the end token, so that the model learns to stop.")
    labels: Labels = Field(AsClass(), description="What classification rows become.")
    parallel: Parallels = Field(AsSequences(), description="What parallel rows become.")
    variables: dict[str, Any] = Field(
        default_factory=dict, description="Variables of the chat template, such as enable_thinking."
    )
    today: date | None = Field(
        None, description="The date for templates that write one; default: the day on which the work begins."
    )

    @model_validator(mode="after")
    def _check_prompts(self) -> RenderingOptions:
        for name, form in (("labels", self.labels), ("parallel", self.parallel)):
            if isinstance(form, AsAnswer | AsPrompt):
                allowed = _PLACES[name]
                try:
                    form.prompt.format(**dict.fromkeys(allowed, ""))
                except (KeyError, IndexError, ValueError, AttributeError) as error:
                    places = ", ".join(f"{{{place}}}" for place in allowed)
                    raise ValueError(f"{name}.prompt may hold {places} and no other braces ({error})") from error
        return self
