from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from chat_models import ChatModel, chat_model
from llmasos.data.preview import Preview, facts, preview, shown, visible
from llmasos.data.preview_html import as_html
from llmasos.data.preview_terminal import as_rich, as_text
from llmasos.data.rendering import Renderer, RenderingOptions
from llmasos.data.row import Label, Message, Messages, Origin, Preference, Row, Sample
from llmasos.i18n import set_language

TALK = Messages((Message("user", "What is <b>5</b>\t🎉 ?"), Message("assistant", "It is\nfine.")))


def of(*samples: Sample, model: ChatModel | None = None, labels: tuple[str, ...] = (), **options: object) -> Preview:
    model = model or chat_model("chatml")
    renderer = Renderer(model.tokenizer, model.template, RenderingOptions.model_validate(options), labels=labels)
    return preview(renderer, [Row(str(n), Origin("s", "rows.jsonl", n + 1), item) for n, item in enumerate(samples)])


def test_every_token_is_shown_once_with_its_text() -> None:
    found = of(TALK)
    ((sequence,),) = [sample.sequences for sample in found.samples]
    text = "".join(token.text for token in sequence.tokens)
    assert text == "<|im_start|>user\nWhat is <b>5</b>\t🎉 ?<|im_end|>\n<|im_start|>assistant\nIt is\nfine.<|im_end|>\n"
    assert "".join(token.text for token in sequence.tokens if token.trained) == "It is\nfine.<|im_end|>"
    assert {token.text for token in sequence.tokens if token.special} == {"<|im_start|>", "<|im_end|>"}
    assert any(not token.text and shown(token) == "⟨…⟩" for token in sequence.tokens), "🎉 takes several tokens"


def test_the_answers() -> None:
    found = of(TALK)
    assert found.end_trained is True
    assert found.end_tokens == {"<|im_end|>": 1}
    assert found.masked_by == "prefixes"
    assert found.trained_share == found.trained / found.tokens
    assert found.warnings == ()
    assert dict(facts(found))["is the end token learned?"] == "yes (<|im_end|>)"
    assert json.loads(json.dumps(found.as_json()))["samples"][0]["row"] == "rows.jsonl:1"


def test_nothing_learned_is_said_and_the_tokens_are_shown() -> None:
    found = of(Messages((Message("user", "a"), Message("assistant", "b", train=False))))
    assert found.warnings[0] == "nothing is learned: no token of these samples is a target"
    (sample,) = found.samples
    assert sample.problem is not None
    assert "nothing_trained" in sample.problem
    assert sample.sequences[0].trained == 0
    assert len(sample.sequences[0].tokens) > 5


def test_an_unstable_template_is_said() -> None:
    talk = Messages((*TALK.messages, Message("user", "And?"), Message("assistant", "b")))
    found = of(talk, model=chat_model("qwen3"), rewritten_turns="error")
    assert any("rewrites messages[1]" in warning for warning in found.warnings)
    assert found.samples[0].sequences[0].trained == 0
    assert len(of(talk, model=chat_model("qwen3")).samples) == 2


def test_cut_answers_are_said() -> None:
    whole = of(TALK)
    found = of(TALK, max_length=whole.tokens - 3, overlong={"kind": "truncate"})
    assert found.end_trained is False
    assert any("cut" in warning for warning in found.warnings)
    assert len(found.samples[0].sequences[0].tokens) == whole.tokens - 3
    dropped = of(TALK, max_length=5)
    assert "too_long" in (dropped.samples[0].problem or "")
    assert len(dropped.samples[0].sequences[0].tokens) == whole.tokens


def test_a_refused_row() -> None:
    found = of(Messages((Message("assistant", "a"), Message("assistant", "b"))), model=chat_model("gemma3"))
    assert found.samples[0].sequences == ()
    assert "Roles must alternate" in (found.samples[0].problem or "")


def test_pairs_and_labels() -> None:
    answers = [(Message("assistant", text),) for text in ("good", "bad")]
    found = of(Preference((Message("user", "a"),), *answers), Label("fine", "b"), labels=("a", "b"))
    assert [sequence.name for sequence in found.samples[0].sequences] == ["chosen", "rejected"]
    assert found.samples[1].label == "b"
    assert of(Label("fine", "b"), labels=("a", "b")).warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a b", "a·b"), ("\n", "↵\n"), ("\t", "→\t"), ("\u200b", "[U+200B]"), ("\u00a0", "⍽"), ("\x07", "[U+0007]"),
     ("\u202e", "[U+202E]"), ("你好", "你好"), ("\u3000", "□")],
)  # fmt: skip
def test_invisible_characters_are_shown(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_the_terminal_views() -> None:
    found = of(TALK)
    text = as_text(found)
    assert "⟦It·is↵\nfine.‹<|im_end|>›⟧↵" in text
    assert "is the end token learned?: yes (<|im_end|>)" in text
    rich = as_rich(found)
    learned = "".join(rich.plain[span.start : span.end] for span in rich.spans if "green" in str(span.style))
    assert "fine." in learned
    assert "What" not in learned
    set_language("zh")
    assert "结束词元" in as_text(of(TALK))


class _Reader(HTMLParser):
    """Collects text and tags, and that every tag is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_is_complete_and_escaped() -> None:
    attack = "</span><script>alert(1)</script>&amp;\"'"
    found = of(Messages((Message("user", attack), Message("assistant", attack))))
    html = as_html(found)
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.tags <= {"section", "style", "dl", "dt", "dd", "p", "h4", "pre", "span"}
    assert reader.text.count(attack) == 2
    assert "http" not in html
    assert 'class="t learned control"' in html
