from __future__ import annotations

import inspect

import pytest

from llmasos import errors
from llmasos.errors import LLMasOSError, OutOfDisk, OutOfMemory, did_you_mean, suggest

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, LLMasOSError)]


def test_codes_are_stable_and_unique() -> None:
    codes = [item.__dict__.get("code") for item in CLASSES]
    assert None not in codes, "every class has a code of its own"
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_has_its_exit_code_status_and_reason(kind: type[LLMasOSError]) -> None:
    assert 1 <= kind.exit_code <= 9
    assert 400 <= kind.http_status <= 599
    assert kind.__doc__


def test_an_error_carries_message_and_hint() -> None:
    error = errors.NotFound("no model x", hint="did you mean y?")
    assert str(error) == error.message == "no model x"
    assert error.hint == "did you mean y?"
    assert isinstance(error, LookupError)


def test_sizes_come_with_the_error() -> None:
    assert OutOfDisk("full", needed=10, free=3).free == 3
    assert OutOfMemory("full", needed=10, available=3).available == 3
    assert isinstance(OutOfMemory("full", needed=1, available=0), MemoryError)


def test_suggestions_are_near_and_best_first() -> None:
    names = ["temperature", "top_k", "top_p", "max_tokens"]
    assert suggest("temprature", names)[0] == "temperature"
    assert suggest("TOP_P", names)[0] == "top_p"
    assert suggest("tokens", names) == ["max_tokens"], "a part of the name counts"
    assert suggest("zzz", names) == []
    assert suggest("", names) == []


def test_did_you_mean_is_a_sentence_or_nothing() -> None:
    assert did_you_mean("lst", ["list", "rm"]) == "did you mean list?"
    assert did_you_mean("qqq", ["list", "rm"]) is None
