from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmasos.cli.chat import options
from llmasos.cli.chat.session import Session
from llmasos.errors import InvalidRequest

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.25", 0.25),
        ("top-k", "40", 40),
        ("stop", "###", "###"),
        ("stop", "42", "42"),
        ("stop", '["a", "b c"]', ["a", "b c"]),
        ("ignore_eos", "true", True),
        ("logit_bias", '{"5": -1.5}', {"5": -1.5}),
    ],
)
def test_values_are_read_and_checked_by_the_model(fake_model: Make, name: str, text: str, value: object) -> None:
    session = Session(fake_model())
    options.set_option(session, name, text)
    assert session.options == {name.replace("-", "_"): value}
    list(session.reply("hello"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "warm", "temperature = 'warm'"),
        ("temperature", "-1", "temperature = -1"),
        ("top_p", "2", "top_p = 2"),
        ("max_tokens", "0", "max_tokens = 0"),
        ("max_tokens", "1.5", "max_tokens = 1.5"),
        ("temprature", "1", "no option temprature"),
        ("logprobs", "3", "no option logprobs"),
    ],
)
def test_what_is_not_allowed_changes_nothing(fake_model: Make, name: str, text: str, message: str) -> None:
    session = Session(fake_model(), options={"seed": 1})
    with pytest.raises(InvalidRequest, match=message):
        options.set_option(session, name, text)
    assert session.options == {"seed": 1}


def test_default_takes_an_option_back(fake_model: Make) -> None:
    session = Session(fake_model(), options={"seed": 1, "temperature": 0.0})
    options.set_option(session, "seed", "default")
    assert session.options == {"temperature": 0.0}


def test_every_option_is_explained(fake_model: Make) -> None:
    session = Session(fake_model())
    assert len(options.names(session)) > 10
    for name in options.names(session):
        text = options.explanation(session.model.defaults, name)
        assert text, name
        assert "``" not in text
        assert ":data:" not in text
