"""What each kind of row becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoTokenizer

import tiny_models
from chat_models import chat_model
from llmasos.data.rendering import RejectedRow, RenderedRow, Renderer, RenderingAccount, RenderingOptions, label_names
from llmasos.data.rendering.options import AsAnswer, AsPrompt, LearnEverything
from llmasos.data.row import (
    Label,
    Message,
    Messages,
    Origin,
    Parallel,
    Preference,
    PromptCompletion,
    Row,
    Sample,
    Text,
    UnpairedPreference,
)
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.languages import Languages
from llmasos.modeling.tokenizer import FastTokenizer

ORIGIN = Origin("source", "rows.jsonl", 7)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.is_dir() else tiny_models.build(name, path)

    return folder


def chat(**options: Any) -> Renderer:
    model = chat_model("llama3")
    return Renderer(model.tokenizer, model.template, RenderingOptions(**options))


def base(**options: Any) -> Renderer:
    return Renderer(chat_model("llama3").tokenizer, None, RenderingOptions(**options))


def texts(renderer: Renderer, row: RenderedRow, part: str = "text") -> tuple[str, str]:
    """All of a part, and what is learned of it."""
    sample = row.parts[part]
    decode = renderer.tokenizer.target.decode if part == "target" else renderer.tokenizer.decode
    return (
        decode(sample.ids.tolist(), skip_special_tokens=False),
        decode(sample.ids[sample.trained].tolist(), skip_special_tokens=False),
    )


def one(renderer: Renderer, sample: Sample, account: RenderingAccount | None = None) -> RenderedRow:
    (row,) = renderer.render_sample(sample, account)
    return row


def test_a_text_ends_with_the_end_token_which_is_learned() -> None:
    account = RenderingAccount()
    row = one(base(), Text("the weather in Paris"), account)
    whole, learned = texts(base(), row)
    assert whole == "the weather in Paris<|eot_id|>"
    assert whole.endswith(learned)
    assert row.parts["text"].trained.tolist() == [False] + [True] * (len(row.parts["text"]) - 1)
    assert account.ends_trained == {"<|eot_id|>": 1}
    assert texts(base(text_end=False), one(base(text_end=False), Text("the weather")))[0] == "the weather"


def test_special_tokens_of_a_text_are_escaped() -> None:
    account = RenderingAccount()
    renderer = base()
    row = one(renderer, Text("a<|eot_id|>b"), account)
    assert (row.parts["text"].ids == renderer.tokenizer.token_id("<|eot_id|>")).sum() == 1
    assert account.escaped == {"<|eot_id|>": 1}


def test_prompt_and_completion_as_a_conversation() -> None:
    renderer = chat()
    whole, learned = texts(renderer, one(renderer, PromptCompletion("How?", "So.", "Be brief.")))
    assert whole.count("<|start_header_id|>") == 3
    assert learned == "So.<|eot_id|>"


def test_prompt_and_completion_as_plain_text() -> None:
    for renderer in (base(), chat(style="plain")):
        assert texts(renderer, one(renderer, PromptCompletion("How? ", "So.", "Brief."))) == (
            "Brief.\n\nHow? So.<|eot_id|>",
            "So.<|eot_id|>",
        )


def test_the_tokens_of_a_plain_prompt_are_those_that_the_model_is_given() -> None:
    renderer = base()
    prompt = "What is the "
    text = one(renderer, PromptCompletion(prompt, "weather")).parts["text"]
    asked = renderer.tokenizer.encode(prompt).ids
    assert text.ids[: len(asked)].tolist() == asked
    assert text.trained.tolist() == [False] * len(asked) + [True] * (len(text) - len(asked))


def test_a_continuation_of_a_sentence_piece_model_gets_no_space() -> None:
    renderer = Renderer(chat_model("mistral").tokenizer, None)
    assert texts(renderer, one(renderer, PromptCompletion("wea", "ther")))[0] == "weather</s>"


def test_everything_of_plain_text() -> None:
    renderer = base(learn=LearnEverything())
    text = one(renderer, PromptCompletion("How? ", "So.")).parts["text"]
    assert text.trained_count == len(text) - 1


def test_conversations_need_a_template() -> None:
    with pytest.raises(Unsupported, match="no chat template"):
        base().render_sample(Messages((Message("user", "a"), Message("assistant", "b"))))
    with pytest.raises(Unsupported, match="no chat template"):
        base(style="chat").render_sample(PromptCompletion("a", "b"))


QUESTION = (Message("user", "One?"), Message("assistant", "First."), Message("user", "Two?"))


def test_preferences_learn_only_the_answers() -> None:
    renderer = chat()
    row = one(renderer, Preference(QUESTION, (Message("assistant", "Good."),), (Message("assistant", "Bad."),)))
    (chosen, good), (rejected, bad) = texts(renderer, row, "chosen"), texts(renderer, row, "rejected")
    assert (good, bad) == ("Good.<|eot_id|>", "Bad.<|eot_id|>")
    assert chosen.removesuffix(good) == rejected.removesuffix(bad)


def test_preferences_of_a_base_model() -> None:
    renderer = base()
    row = one(
        renderer, Preference((Message("user", "Two?"),), (Message("assistant", " 2"),), (Message("assistant", " 3"),))
    )
    assert texts(renderer, row, "chosen") == ("Two? 2<|eot_id|>", " 2<|eot_id|>")
    with pytest.raises(InvalidRequest, match="conversation"):
        renderer.render_sample(Preference(QUESTION, (Message("assistant", "a"),), (Message("assistant", "b"),)))


@pytest.mark.parametrize("desirable", [True, False])
def test_judged_answers(desirable: bool) -> None:
    renderer = chat()
    row = one(renderer, UnpairedPreference(QUESTION, (Message("assistant", "Good."),), desirable))
    assert texts(renderer, row)[1] == "Good.<|eot_id|>"
    assert row.label == int(desirable)


@pytest.mark.parametrize("limit", [None, 12, 7])
@pytest.mark.parametrize("pair", [None, "a terrible movie, I hated it", "no"])
def test_classified_texts_are_those_of_transformers(
    tiny: Callable[[str], Path], pair: str | None, limit: int | None
) -> None:
    folder = ModelFolder.open(tiny("bert_classifier"))
    options = RenderingOptions(max_length=limit or 500, overlong={"kind": "truncate"})  # type: ignore[arg-type]
    renderer = Renderer.of_model(folder, options, labels=("bad", "good"))
    row = one(renderer, Label("This is a great movie! I loved it.", "good", pair))
    reference = AutoTokenizer.from_pretrained(tiny("bert_classifier"))
    theirs = reference("This is a great movie! I loved it.", pair, truncation=True, max_length=limit or 500)
    text = row.parts["text"]
    assert text.ids.tolist() == theirs["input_ids"]
    assert row.label == 1
    assert not text.trained.any()
    begins = theirs["token_type_ids"].index(1) if pair else None
    assert text.pair_start == begins


def test_labels() -> None:
    rows = [Row(str(n), ORIGIN, Label("a", name)) for n, name in enumerate(["b", "a", "b"])]
    assert label_names(rows) == ("a", "b")
    model = chat_model("llama3")
    account = RenderingAccount()
    found = list(Renderer(model.tokenizer, model.template, labels=("a",)).render(rows, account))
    assert [isinstance(item, RejectedRow) for item in found] == [True, False, True]
    assert account.rejected == {"unknown_label": 2}
    assert "classes" in account.notes()[0]
    renderer = chat(labels=AsAnswer(prompt="Is it good? {text}"))
    assert texts(renderer, one(renderer, Label("x{y}", "good")))[1] == "good<|eot_id|>"


def test_parallel_text_of_an_encoder_decoder(tiny: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(tiny("t5"))
    renderer = Renderer.of_model(folder)
    row = one(renderer, Parallel("The house is wonderful.", "La maison est magnifique."))
    reference = AutoTokenizer.from_pretrained(tiny("t5"))
    theirs = reference("The house is wonderful.", text_target="La maison est magnifique.")
    assert row.parts["source"].ids.tolist() == theirs["input_ids"]
    assert row.parts["target"].ids.tolist() == theirs["labels"]
    assert not row.parts["source"].trained.any()
    assert row.parts["target"].trained.all(), "the decoder's start token comes before the first"


def test_a_source_that_is_cut_keeps_its_end(tiny: Callable[[str], Path]) -> None:
    options = RenderingOptions(max_length=5, overlong={"kind": "truncate"})  # type: ignore[arg-type]
    renderer = Renderer.of_model(ModelFolder.open(tiny("t5")), options)
    account = RenderingAccount()
    row = one(renderer, Parallel("The house is wonderful. " * 4, "La maison est magnifique. " * 4), account)
    end = renderer.tokenizer.special.id("eos")
    assert len(row.parts["source"]) == len(row.parts["target"]) == 5
    assert row.parts["source"].ids[-1] == end
    assert row.parts["target"].ids[-1] != end
    assert (account.truncated, account.answers_cut, account.ends_missing) == (1, 1, 1)


def test_parallel_text_as_a_prompt() -> None:
    renderer = chat(parallel=AsPrompt(prompt="To {target_language}: {source}"))
    whole, learned = texts(renderer, one(renderer, Parallel("a {b}", "c", "en", "fr")))
    assert "To fr: a {b}<|eot_id|>" in whole
    assert learned == "c<|eot_id|>"
    with pytest.raises(InvalidRequest, match="target_language"):
        renderer.render_sample(Parallel("a", "c"))


def test_prompts_with_unknown_braces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\{source\}"):
        RenderingOptions(parallel=AsPrompt(prompt="{text}"))


def test_every_row_gives_samples_or_a_reason() -> None:
    rows = [
        Row("0", ORIGIN, Messages((Message("user", "a"), Message("assistant", "b")))),
        Row("1", ORIGIN, Messages((Message("user", "a"),))),
        Row("2", ORIGIN, Messages((Message("assistant", "a"), Message("assistant", "b")))),
        Row("3", ORIGIN, Messages((Message("user", "a"), Message("assistant", "b")), ({"name": "tool"},))),
    ]
    model = chat_model("gemma3")
    account = RenderingAccount()
    found = list(Renderer(model.tokenizer, model.template).render(rows, account, first=10))
    assert [item.row for item in found] == [10, 11, 12, 13]
    reasons = [item.rejection.reason for item in found if isinstance(item, RejectedRow)]
    assert reasons == ["nothing_trained", "refused_by_template", "refused_by_template"]
    assert account.rows == 4
    assert account.samples == 1
    assert "Roles must alternate" in found[2].rejection.detail  # type: ignore[union-attr]


def test_source_and_target_of_marian_have_their_own_tokenizers(tiny: Callable[[str], Path]) -> None:
    renderer = Renderer.of_model(ModelFolder.open(tiny("marian")))
    row = one(renderer, Parallel("This is a great movie!", "La maison est magnifique."))
    reference = AutoTokenizer.from_pretrained(tiny("marian"))
    theirs = reference("This is a great movie!", text_target="La maison est magnifique.")
    assert row.parts["source"].ids.tolist() == theirs["input_ids"]
    assert row.parts["target"].ids.tolist() == theirs["labels"]
    code = renderer.tokenizer.language_tokens()[-1].strip("<>")
    marked = one(renderer, Parallel("This is a great movie!", "La maison est magnifique.", "en", code))
    assert marked.parts["source"].ids.tolist() == reference(f">>{code}<< This is a great movie!")["input_ids"]
    assert renderer.digest == Renderer.of_model(ModelFolder.open(tiny("marian"))).digest


def test_languages_of_a_multilingual_model(tmp_path: Path) -> None:
    special = ["<unk>", "</s>", "eng_Latn", "fra_Latn"]
    backend = tiny_models.sentence_piece_like(tmp_path, special)
    backend.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>", special_tokens=[(token, backend.token_to_id(token)) for token in special]
    )
    tokenizer = FastTokenizer(backend, {"eos_token": "</s>"})
    renderer = Renderer(tokenizer, None, languages=Languages("nllb", tokenizer))
    row = one(renderer, Parallel("The house", "La maison", "eng_Latn", "fra_Latn"))
    first = [tokenizer.pieces(row.parts[part].ids.tolist())[0] for part in ("source", "target")]
    assert first == ["eng_Latn", "fra_Latn"]
    back = one(renderer, Parallel("La maison", "The house", "fra_Latn", "eng_Latn"))
    assert back.parts["source"].ids.tolist() == row.parts["target"].ids.tolist()
    with pytest.raises(InvalidRequest, match="no language 'fr'"):
        renderer.render_sample(Parallel("The house", "La maison", "eng_Latn", "fr"))


def test_a_tokenizer_without_places_learns_everything_or_nothing(tiny: Callable[[str], Path]) -> None:
    tokenizer = Renderer.of_model(ModelFolder.open(tiny("marian"))).tokenizer
    template = ChatTemplate("{% for m in messages %}{{ m.content + ' ' }}{% endfor %}")
    talk = Messages((Message("user", "This is great"), Message("assistant", "a movie")))
    with pytest.raises(Unsupported, match="where its tokens stand"):
        Renderer(tokenizer, template).render_sample(talk)
    assert one(Renderer(tokenizer, None), Text("This is a movie")).parts["text"].trained_count > 0
