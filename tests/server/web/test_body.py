"""Bodies: what is refused, and how it is said."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from llmasos.server.web.body import Fields, InvalidField, Received, check_body, parse_object


class Inner(Fields):
    kind: Literal["a", "b"] = "a"


class Example(Fields):
    model: str
    temperature: float | None = Field(None, ge=0)
    items: list[Inner] = Field(default_factory=list)

    NOT_SUPPORTED: ClassVar[dict[str, str]] = {"audio": "the models here write text"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"[1]", "not a JSON object"),
        (b"\xff{}", "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": "\\ud800"}', "half of a character"),
        (b'{"\\ud800": 1}', "half of a character"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidField, match=reason):
        parse_object(raw)


def test_escaped_characters_are_no_surrogates() -> None:
    assert parse_object(b'{"a": "\\u00e9 \\ud83d\\ude00"}') == {"a": "é 😀"}


def check(document: dict[str, Any], *, lenient: bool = False) -> Received[Example]:
    return check_body(document, Example, lenient=lenient)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidField) as caught:
        check({"temprature": 1, "temperature": -1, "items": [{"kind": "c"}, {"kin": "a"}], "audio": {}})
    message = caught.value.message
    assert "6 problem(s)" in message
    for part in ("audio is not supported: the models here write text", "model is missing", "temperature = -1",
                 "items[0].kind = 'c'", "items[1].kin: unknown field",
                 "temprature: unknown field (did you mean temperature"):  # fmt: skip
        assert part in message
    assert caught.value.param == "audio"


@pytest.mark.parametrize("value", ["0.5", True, [1]])
def test_values_are_not_converted(value: object) -> None:
    with pytest.raises(InvalidField, match="temperature"):
        check({"model": "m", "temperature": value})


def test_an_unsupported_field_without_a_value_is_none() -> None:
    assert check({"model": "m", "audio": None}).ignored == ()


def test_a_lenient_server_says_what_it_ignores() -> None:
    received = check({"model": "m", "audio": 1, "what": 2, "items": [{"kind": "b", "x": 1}]}, lenient=True)
    assert received.fields.items == [Inner(kind="b")]
    assert set(received.ignored) == {"audio", "what", "items[0].x"}
    assert "audio" in received.headers["x-llmasos-warning"]


def test_a_lenient_server_still_refuses_wrong_values() -> None:
    with pytest.raises(InvalidField, match="temperature"):
        check({"model": "m", "temperature": "hot", "what": 2}, lenient=True)


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(InvalidField) as caught:
        check({"model": 5, "temperature": "x" * 10_000})
    assert len(caught.value.message) < 500
