"""What a task file may say: where the data is, what the prompt is, what is read in the answer, and how it is judged.

Texts in a task are Jinja templates over the columns of a row: ``{{question}}``. A template that is nothing but one
``{{...}}`` gives the value itself, so ``{{choices}}`` is a list and ``{{label}}`` a number.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llmasos.evaluation.data.options import Data
from llmasos.evaluation.extraction.options import Extraction, Whole
from llmasos.recipe.loading import Recipe

Kind = Literal["choice", "generation", "classification", "seq2seq", "perplexity", "code", "instructions"]
ChatUse = Literal["auto", "on", "off"]


def word_of(given: object) -> object:
    """YAML reads ``on`` and ``off`` as true and false."""
    return {True: "on", False: "off"}[given] if isinstance(given, bool) else given


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FewShot(_Options):
    """Solved examples before the question."""

    count: int = Field(0, ge=0, description="How many examples.")
    split: str | None = Field(None, description="Split that they are taken from; default: the one named few_shot.")
    choose: Literal["first", "random"] = Field(
        "random", description="The first rows of that split, or rows drawn with the seed."
    )
    seed: int = Field(1234, ge=0, description="Seed of the draw.")
    per_sample: bool = Field(
        False,
        description="Draw other examples for every sample. With the same examples for all, the model reads them once.",
    )
    same: str | None = Field(
        None, description="Column whose value examples share with the sample, such as subject; default: any row."
    )
    where: str | None = Field(
        None, description="Template that says whether a row of that split may be an example; default: all may."
    )
    examples: tuple[dict[str, Any], ...] = Field(
        (), description="Rows written in the task itself, used instead of a split."
    )
    separator: str = Field("\n\n", description="Text between examples, without a chat template.")
    multi_turn: bool = Field(
        True,
        description="With a chat template: each example is a turn of user and assistant. Off: all examples stand in "
        "the user's message.",
    )


class GenerationOptions(_Options):
    """How answers are written."""

    max_tokens: int = Field(256, ge=1, description="Most tokens of an answer.")
    stop: tuple[str, ...] = Field((), description="Texts that end an answer; they are not part of it.")
    temperature: float = Field(0.0, ge=0, description="0 takes the likeliest token always.")
    top_p: float = Field(1.0, gt=0, le=1, description="Keep the likeliest tokens that reach this probability.")
    samples: int = Field(1, ge=1, le=128, description="Answers to each prompt; more than one needs a temperature.")

    @model_validator(mode="after")
    def _samples_differ(self) -> GenerationOptions:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples above 1 need a temperature above 0, for they would all be the same")
        return self


def _metric_name(given: object) -> object:
    return {"name": given} if isinstance(given, str) else given


class MetricUse(_Options):
    """A metric and its options."""

    name: str = Field(description="Name of the metric, such as accuracy or bleu.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of this metric.")


Metric: TypeAlias = Annotated[MetricUse, BeforeValidator(_metric_name)]


class BaseTask(Recipe):
    """What all tasks have."""

    name: str = Field(
        min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the task, such as arc-challenge."
    )
    title: str | None = Field(None, description="Name for people.")
    description: str | None = Field(None, description="What the task measures, in a sentence or two.")
    language: str | None = Field(None, description="Language of the answers, as an ISO 639 code such as en or zh.")
    tags: tuple[str, ...] = Field((), description="Words to find the task by.")
    version: int = Field(1, ge=1, description="Raised when scores change their meaning.")
    data: Data = Field(description="Where the rows come from.")
    metrics: tuple[Metric, ...] = Field((), description="What is computed; default: the usual metrics of the kind.")

    default_metrics: ClassVar[tuple[str, ...]] = ()

    @property
    def metric_uses(self) -> tuple[MetricUse, ...]:
        """The metrics asked for, or those of the kind."""
        return self.metrics or tuple(MetricUse(name=name, options={}) for name in self.default_metrics)


class PromptedTask(BaseTask):
    """What tasks have in which the model reads a prompt."""

    prompt: str = Field(description="What is asked, as a template over the row's columns.")
    system: str | None = Field(
        None,
        description="Message of the system before the prompt, as a template; without a chat template, text before "
        "everything.",
    )
    answer_prefix: str = Field("", description="Beginning of the answer that the model is given, as a template.")
    delimiter: str = Field(" ", description="Text between prompt and answer, without a chat template.")
    few_shot: FewShot = Field(FewShot(), description="Solved examples before the question.")
    chat: Annotated[ChatUse, BeforeValidator(word_of)] = Field(
        "auto",
        description="Whether prompts go through the model's chat template; auto: for written answers if there is one, "
        "and never for log-likelihoods.",
    )
    template_variables: dict[str, Any] = Field(
        default_factory=dict, description="Variables of the chat template, such as enable_thinking."
    )


class ChoiceTask(PromptedTask):
    """The model rates given answers by their log-probability."""

    kind: Literal["choice"] = Field(description="The kind of the task.")
    choices: str | tuple[str, ...] = Field(
        description="The answers to choose from: a list of templates, or a template that gives a list."
    )
    answer: str = Field(
        description="The right choice as a template: its number from 0, its label, its text, or a list of several."
    )
    labels: str | tuple[str, ...] | None = Field(
        None, description="Labels of the choices, such as A, B, C, D, by which answer may name one."
    )
    normalization: Literal["none", "tokens", "characters", "bytes"] = Field(
        "none",
        description="What the log-probability of a choice is divided by before the verdict; all are reported anyway.",
    )
    unconditional: str | None = Field(
        None,
        description="Text without the question, such as `Answer:`; the choices' log-probabilities after it are taken "
        "off. Default: they are not.",
    )

    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "accuracy_normalized")


class WrittenTask(PromptedTask):
    """What tasks have in which the model writes."""

    generation: GenerationOptions = Field(GenerationOptions(), description="How answers are written.")
    thinking: bool | None = Field(
        None,
        description="Whether a model thinks before it answers, where its chat template lets one choose; default: as "
        "the template has it.",
    )


class GenerationTask(WrittenTask):
    """The model writes an answer, which is read and compared."""

    kind: Literal["generation"] = Field(description="The kind of the task.")
    target: str | None = Field(None, description="The answer as solved examples show it; default: the first reference.")
    references: str | tuple[str, ...] = Field(
        description="What is right: templates, or a template that gives a text or a list."
    )
    extraction: Extraction = Field(Whole(), description="How the answer is read in the output.")
    match: Literal["exact", "normalized", "numeric", "math", "choice", "none"] = Field(
        "normalized",
        description="When an answer is right: equal, equal without case and punctuation, the same number, the same "
        "mathematical expression, the same letter of a choice; none: there is no right or wrong.",
    )

    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)


class Seq2SeqTask(WrittenTask):
    """The model turns one text into another: translation, summary."""

    kind: Literal["seq2seq"] = Field(description="The kind of the task.")
    source: str = Field(description="The text that encoder-decoder models read, as a template.")
    references: str | tuple[str, ...] = Field(
        description="Good results: templates, or a template that gives a text or a list."
    )
    source_language: str | None = Field(None, description="Language of the source, for multilingual models.")
    target_language: str | None = Field(None, description="Language of the result, for multilingual models.")
    extraction: Extraction = Field(Whole(), description="How the result is read in the output.")

    default_metrics: ClassVar[tuple[str, ...]] = ("bleu", "chrf", "rouge")


class ClassificationTask(PromptedTask):
    """A classifier labels a text; a model that writes rates the words of the labels after the prompt."""

    kind: Literal["classification"] = Field(description="The kind of the task.")
    text: str = Field(description="The text that classifiers read, as a template.")
    pair: str | None = Field(None, description="The second text, where the task is about two.")
    labels: tuple[str, ...] = Field(min_length=2, description="Names of the classes, in the order of their numbers.")
    words: tuple[str, ...] | None = Field(
        None, description="What a model that writes is to answer for each class; default: the names."
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="Other names of the classes that models use, each with the name here."
    )
    answer: str = Field(description="The right class as a template: its number from 0 or its name.")

    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "mcc")

    @model_validator(mode="after")
    def _words_fit(self) -> ClassificationTask:
        if self.words is not None and len(self.words) != len(self.labels):
            raise ValueError(f"words has {len(self.words)} entries and labels {len(self.labels)}")
        unknown = sorted(set(self.aliases.values()) - set(self.labels))
        if unknown:
            raise ValueError(f"aliases names {unknown[0]!r}, which is no label ({', '.join(self.labels)})")
        return self


class PerplexityTask(BaseTask):
    """How well the model predicts a text, or the end of one."""

    kind: Literal["perplexity"] = Field(description="The kind of the task.")
    text: str = Field(description="The text to predict, as a template.")
    context: str | None = Field(
        None,
        description="Text before it that is given and not counted. With it, a sample is right if the likeliest tokens "
        "are those of the text (LAMBADA).",
    )
    window: int | None = Field(
        None, ge=2, description="Tokens that the model sees at once; default: as many as it can."
    )

    default_metrics: ClassVar[tuple[str, ...]] = ("perplexity",)


class CodeTask(WrittenTask):
    """The model writes a program, which is run against tests in a sandbox."""

    kind: Literal["code"] = Field(description="The kind of the task.")
    extraction: Extraction = Field(Whole(), description="How the program is read in the output.")
    program: str | tuple[str, ...] = Field(
        description="The program to run, as a template over the row's columns and {{completion}}, what was read. Parts "
        "of a list are compiled one by one and run in one namespace, so that an answer cannot swallow its tests."
    )
    target: str | None = Field(None, description="The answer as solved examples show it.")
    timeout: float = Field(10.0, gt=0, description="Seconds that a program may take.")
    memory: int = Field(1024, ge=64, description="MiB that a program may take.")

    default_metrics: ClassVar[tuple[str, ...]] = ("pass_at_k",)


class InstructionsTask(WrittenTask):
    """The model follows instructions that a program can check, such as a number of words."""

    kind: Literal["instructions"] = Field(description="The kind of the task.")
    instructions: str = Field(description="Template that gives the list of names of checks.")
    arguments: str = Field(description="Template that gives the list of their arguments.")

    default_metrics: ClassVar[tuple[str, ...]] = ("instruction_following",)


Task: TypeAlias = (
    ChoiceTask | GenerationTask | Seq2SeqTask | ClassificationTask | PerplexityTask | CodeTask | InstructionsTask
)

TASKS: dict[str, type[Task]] = {
    "choice": ChoiceTask,
    "generation": GenerationTask,
    "classification": ClassificationTask,
    "seq2seq": Seq2SeqTask,
    "perplexity": PerplexityTask,
    "code": CodeTask,
    "instructions": InstructionsTask,
}
"""The model of each kind."""
