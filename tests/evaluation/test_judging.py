from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from evaluation_cases import (
    ScriptedBackend,
    choice_task,
    classification_task,
    generation_task,
    make_task,
    perplexity_task,
)
from llmasos.errors import Unsupported
from llmasos.evaluation.backends.protocol import Answer, Label
from llmasos.evaluation.judging import count_words, matched_labels, normalized
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import prepare
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.runner import run
from llmasos.evaluation.task import ClassificationTask
from llmasos.evaluation.tasks.find import FoundTask

ROW = {"q": "Q", "choices": ["yes", "no, never"], "answer": 1}


def first(found: FoundTask, backend: ScriptedBackend, **options: Any) -> Record:
    return run(prepare(found, backend, RunOptions(**options)), backend)[0]


def test_the_likeliest_choice_is_chosen(tmp_path: Path) -> None:
    backend = ScriptedBackend(logprobs={"yes": -2.0, "no, never": -3.0})
    record = first(choice_task(tmp_path, rows=[ROW]), backend)
    assert (record.status, record.output, record.target) == (Status.WRONG, "yes", 1)
    assert record.choice_logprobs == (-2.0, -3.0)
    assert record.choice_lengths == ((1, 3, 3), (1, 9, 9))
    assert record.references == ("no, never",)
    assert record.details["chosen"] == 0


def test_by_the_length_of_the_choice(tmp_path: Path) -> None:
    backend = ScriptedBackend(logprobs={"yes": -2.0, "no, never": -3.0})
    for by, status in (("none", "wrong"), ("tokens", "wrong"), ("characters", "correct"), ("bytes", "correct")):
        found = choice_task(tmp_path, rows=[ROW], normalization=by, name=by)
        assert first(found, backend).status == status, by


def test_lengths_in_tokens_characters_and_bytes() -> None:
    lengths = [(2, 4, 8), (1, 1, 3)]
    assert normalized([-8.0, -3.0], lengths, "none") == [-8.0, -3.0]
    assert normalized([-8.0, -3.0], lengths, "tokens") == [-4.0, -3.0]
    assert normalized([-8.0, -3.0], lengths, "characters") == [-2.0, -3.0]
    assert normalized([-8.0, -3.0], lengths, "bytes") == [-1.0, -1.0]


def test_equally_likely_choices(tmp_path: Path) -> None:
    backend = ScriptedBackend(logprobs={"yes": -2.0, "no, never": -2.0})
    assert first(choice_task(tmp_path, rows=[ROW]), backend).output == "yes"


def test_without_what_is_likely_anyway(tmp_path: Path) -> None:
    class Biased(ScriptedBackend):
        def _answer(self, index: int, call: Any) -> Answer:
            answer = super()._answer(index, call)
            if call.prompt.text == "Answer:" and call.continuation == " yes":
                return Answer(answer.prompt, 1, logprob=-1.0, tokens=1)
            return answer

    found = choice_task(tmp_path, rows=[ROW], unconditional="Answer:")
    record = first(found, Biased(logprobs={"yes": -2.0, "no, never": -3.0}))
    assert record.status is Status.CORRECT  # -2 + 1 against -3 + 3
    assert record.choice_logprobs == (-2.0, -3.0)
    assert record.details["unconditional_logprobs"] == [-1.0, -3.0]


def test_several_right_choices(tmp_path: Path) -> None:
    row = {**ROW, "choices": ["a", "b", "c"], "answer": [0, 2]}
    backend = ScriptedBackend(logprobs={"c": -1.0})
    record = first(choice_task(tmp_path, rows=[row]), backend)
    assert record.status is Status.CORRECT
    assert (record.target, record.details["targets"], record.references) == (0, [0, 2], ("a", "c"))


def test_an_error_of_one_choice_is_an_error_of_the_sample(tmp_path: Path) -> None:
    record = first(choice_task(tmp_path), ScriptedBackend(error="no"))
    assert (record.status, record.error, record.choice_logprobs) == (Status.ERROR, "no", None)


def test_a_model_that_writes_rates_the_words_of_classes(tmp_path: Path) -> None:
    found = classification_task(tmp_path, words=["bad", "so so", "good"])
    record = first(found, ScriptedBackend(logprobs={"bad": -1.0}))
    assert (record.output, record.parsed, record.status, record.target) == ("negative", "negative", Status.CORRECT, 0)
    assert record.choice_logprobs == (-1.0, -5.0, -5.0)


class Classifier(ScriptedBackend):
    def __init__(self, scores: dict[str, float], labels: tuple[str, ...]) -> None:
        super().__init__(abilities=("classify",))
        self.scores, self.labels = scores, labels

    def _answer(self, index: int, call: Any) -> Answer:
        assert isinstance(call, Label)
        return Answer(call.text, 3, scores=self.scores)


def test_a_classifier_by_its_own_names(tmp_path: Path) -> None:
    backend = Classifier({"NEG": 0.0, "Neutral": 0.25, "POS": 0.75}, ("NEG", "Neutral", "POS"))
    found = classification_task(tmp_path, aliases={"neg": "negative", "pos": "positive"})
    record = first(found, backend)
    assert record.output == "positive"
    assert record.choice_logprobs is not None
    assert record.choice_logprobs[1:] == (math.log(0.25), math.log(0.75))
    assert record.choice_logprobs[0] < -100, "a probability of 0 stays a number"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["Positive", "NEGATIVE"], ["NEGATIVE", "Positive"]),
        (["LABEL_0", "LABEL_1"], ["LABEL_0", "LABEL_1"]),
        (["pos", "neg", "neutral"], ["neg", "pos"]),
    ],
)
def test_classes_of_the_model_and_of_the_task(tmp_path: Path, labels: list[str], found: list[str]) -> None:
    task = two_classes(tmp_path)
    assert matched_labels(task, labels) == found


def two_classes(tmp_path: Path) -> ClassificationTask:
    task = make_task(
        tmp_path, "classification", prompt="{{q}}", text="{{q}}", labels=["negative", "positive"], answer="positive",
        aliases={"neg": "negative", "pos": "positive"},
    ).task  # fmt: skip
    assert isinstance(task, ClassificationTask)
    return task


@pytest.mark.parametrize("labels", [["sport", "politics"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["positive", "other"]])
def test_other_classes_are_refused(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(Unsupported, match="the task classification has negative, positive"):
        matched_labels(two_classes(tmp_path), labels)


def test_a_text_is_only_scored(tmp_path: Path) -> None:
    record = first(perplexity_task(tmp_path), ScriptedBackend())
    text = "the model reads line 0 of the text"
    assert record.status is Status.SCORED
    assert (record.loglikelihood, record.token_count, record.word_count, record.byte_count) == (-2.0, 4, 8, len(text))


def test_the_end_of_a_text_is_right_if_it_is_the_likeliest(tmp_path: Path) -> None:
    found = perplexity_task(tmp_path, context="{{text.rsplit(' ', 1)[0]}}", text=" {{text.rsplit(' ', 1)[1]}}")
    assert first(found, ScriptedBackend(logprobs={"text": -0.5})).status is Status.CORRECT
    assert first(found, ScriptedBackend(logprobs={"text": -0.5})).word_count == 1, "the blank before it is no word"
    record = first(found, ScriptedBackend(logprobs={"text": -2.5}))
    assert (record.status, record.loglikelihood, record.references) == (Status.WRONG, -2.5, (" text",))


def test_words_are_counted_as_lm_evaluation_harness_does() -> None:
    assert count_words("a b\nc") == 3
    assert count_words(" a ") == 3  # re.split gives empty ends, and they count there


@pytest.mark.parametrize(
    ("output", "reason", "status", "parsed"),
    [
        ("The answer is 0.", "stop", Status.CORRECT, "0"),
        ("It is $1,200", "stop", Status.WRONG, "1200"),
        ("I do not know", "stop", Status.UNPARSED, None),
        ("", "stop", Status.UNPARSED, None),
        ("First, we", "length", Status.TRUNCATED, None),
        ("First, 5 and", "length", Status.TRUNCATED, "5"),
        ("so it is 0, and", "length", Status.CORRECT, "0"),
    ],
)
def test_verdicts_on_what_was_written(
    tmp_path: Path, output: str, reason: str, status: Status, parsed: str | None
) -> None:
    record = first(generation_task(tmp_path), ScriptedBackend([output], finish_reason=reason))
    assert (record.status, record.parsed, record.output) == (status, parsed, output)
    assert record.details["finish_reason"] == reason
    assert record.latency_seconds == 0.25


def test_an_answer_that_is_found_at_its_place_is_wrong_though_the_rest_was_cut_off(tmp_path: Path) -> None:
    found = generation_task(tmp_path, extraction={"kind": "regex", "pattern": r"#### (\d+)"}, match="exact")
    assert first(found, ScriptedBackend(["#### 7 and"], finish_reason="length")).status is Status.WRONG


@pytest.mark.parametrize(
    ("output", "reason", "status", "parsed"),
    [
        ("<think>\nPerhaps 7?\n</think>\n\nIt is 0", "stop", Status.CORRECT, "0"),
        ("<think>\nIt is 0", "length", Status.TRUNCATED, None),
        ("<think>", "stop", Status.UNPARSED, None),  # a stop cut the thoughts
    ],
)
def test_thoughts_before_the_answer_are_not_read(
    tmp_path: Path, output: str, reason: str, status: Status, parsed: str | None
) -> None:
    record = first(generation_task(tmp_path), ScriptedBackend([output], finish_reason=reason))
    assert (record.status, record.parsed, record.output) == (status, parsed, output)
    found = make_task(
        tmp_path, "seq2seq", prompt="Translate: {{text}}", source="{{text}}", references="{{text}}",
        extraction={"kind": "first_line"},
    )  # fmt: skip
    translated = first(found, ScriptedBackend([output], finish_reason=reason))
    assert translated.parsed == (None if parsed is None else "It is 0")


def test_a_template_that_opens_the_thoughts_in_the_prompt(tmp_path: Path) -> None:
    class Always(ScriptedBackend):
        def show(self, prompt: Any) -> str:
            return super().show(prompt) + "<think>\n"

    assert first(generation_task(tmp_path), Always(["perhaps 0"])).status is Status.UNPARSED
    assert first(generation_task(tmp_path), Always(["perhaps 7</think>0"])).status is Status.CORRECT


def test_several_answers_to_a_prompt(tmp_path: Path) -> None:
    found = generation_task(tmp_path, generation={"max_tokens": 4, "samples": 3, "temperature": 1.0})
    record = first(found, ScriptedBackend(["0"]))
    assert (record.output, record.outputs) == ("0", ("0", "0", "0"))


def test_every_sample_draws_with_a_seed_of_its_own(tmp_path: Path) -> None:
    def seeds(**options: Any) -> list[int]:
        backend = ScriptedBackend(["0"])
        run(prepare(generation_task(tmp_path), backend, RunOptions(**options)), backend)
        return [call.seed for call in backend.calls]  # type: ignore[union-attr]

    assert len(set(seeds())) == 12
    assert seeds() == seeds()
    assert seeds(limit=3)[0] == seeds()[0]
    assert set(seeds(seed=1)).isdisjoint(seeds())


def test_a_translation_is_scored_by_metrics(tmp_path: Path) -> None:
    found = make_task(
        tmp_path, "seq2seq", prompt="Translate: {{text}}", source="{{text}}", references="{{text}}",
        source_language="en", target_language="de", extraction={"kind": "first_line"},
    )  # fmt: skip
    backend = ScriptedBackend(["\n eins \nzwei"])
    record = first(found, backend)
    assert (record.status, record.parsed, record.details["source"]) == (
        Status.SCORED, "eins", "the model reads line 0 of the text",
    )  # fmt: skip
    call = backend.calls[0]
    assert (call.source, call.source_language, call.target_language) == (record.details["source"], "en", "de")  # type: ignore[union-attr]
    assert first(found, ScriptedBackend(["\n"])).status is Status.UNPARSED
    assert first(found, ScriptedBackend([""], finish_reason="length")).status is Status.TRUNCATED


@pytest.mark.parametrize(
    ("kind", "abilities", "message"),
    [
        ("generation", ("classify",), "needs a model that can write; it can label texts"),
        ("choice", ("generate",), "needs a model that can rate a text; it can write"),
        ("perplexity", ("generate",), "needs a model that can rate a whole text"),
        ("classification", ("generate",), "can rate a text or label texts"),
    ],
)
def test_a_model_that_cannot_do_the_task(tmp_path: Path, kind: str, abilities: Any, message: str) -> None:
    make = {"generation": generation_task, "choice": choice_task, "perplexity": perplexity_task,
            "classification": classification_task}[kind]  # fmt: skip
    with pytest.raises(Unsupported, match=message):
        prepare(make(tmp_path), ScriptedBackend(abilities=abilities), RunOptions())
