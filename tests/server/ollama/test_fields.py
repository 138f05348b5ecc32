"""What the fields of requests mean, and what is refused, by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.server.ollama import chat, create, embed, generate
from llmasos.server.ollama.fields import ChatMessage, messages_of, output_format, seconds_of
from llmasos.server.ollama.options import OptionFields, parameter_lines
from llmasos.server.web.body import InvalidField, check_body


def chat_fields(lenient: bool = False, **body: Any) -> Any:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **body}
    return check_body(document, chat.ChatRequest, lenient=lenient)


def chat_job(**body: Any) -> Any:
    return chat.job_of(chat_fields(**body).fields)


def generate_job(**body: Any) -> Any:
    return generate.job_of(check_body({"model": "m", **body}, generate.GenerateRequest, lenient=False).fields)


def test_options_reach_the_engine_under_its_names() -> None:
    job = chat_job(
        options={"temperature": 0.5, "top_k": 10, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "repeat_penalty": 1.2,
                 "presence_penalty": 0.1, "frequency_penalty": 0.2, "seed": 7, "stop": "END", "num_predict": 5,
                 "num_ctx": 100, "num_keep": 4, "mirostat": 0, "tfs_z": 1.0, "penalize_newline": True,
                 "repeat_last_n": -1},
    )  # fmt: skip
    assert job.options == {
        "temperature": 0.5, "top_k": 10, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "repetition_penalty": 1.2,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "seed": 7, "stop": ["END"], "max_tokens": 5,
    }  # fmt: skip
    assert job.context_limit == 100


@pytest.mark.parametrize("number", [-1, -2])
def test_num_predict_may_be_without_limit(number: int) -> None:
    assert "max_tokens" not in chat_job(options={"num_predict": number}).options


def test_values_that_stand_for_nothing() -> None:
    assert chat_job(options={"seed": -1, "stop": []}).options == {}
    assert chat_job(options={"top_k": -1}).options == {"top_k": 0}
    off = chat_job(options={"repeat_last_n": 0, "repeat_penalty": 1.5}).options
    assert off == {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_gpu": 1}, "options.num_gpu is not supported: the server decides it"),
        ({"mirostat_tau": 5.0}, "options.mirostat_tau is not supported"),
        ({"mirostat": 1}, "options.mirostat = 1"),
        ({"repeat_last_n": 64}, "options.repeat_last_n = 64"),
        ({"num_predict": 0}, "options.num_predict = 0"),
        ({"num_predict": -3}, "options.num_predict = -3"),
        ({"num_ctx": 0}, "options.num_ctx = 0"),
        ({"temperature": "hot"}, "options.temperature = 'hot'"),
        ({"temprature": 1}, "options.temprature: unknown field (did you mean temperature?)"),
        ({"penalize_newline": False}, "options.penalize_newline"),
    ],
)
def test_an_option_is_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidField) as caught:
        chat_job(options=options)
    assert words in caught.value.message
    assert caught.value.param == f"options.{next(iter(options))}"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"template": "x"}, "template"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"format": "yaml"}, "format"),
        ({"think": ""}, "think"),
        ({"shift": True}, "shift"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"nonsense": 1}, "nonsense"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGVsbG8="]}]}, "messages[0].images"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "tool_calls": [{"function": {"name": "f"}}]}]}, "messages[0]"),
        ({"tools": [{"type": "other", "function": {"name": "f"}}]}, "tools[0].type"),
    ],
)
def test_a_field_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        chat_job(**body)
    assert caught.value.param == param


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidField) as caught:
        chat_job(nonsense=1, options={"num_gpu": 1, "top_p": 2.0})
    for word in ("nonsense", "options.num_gpu", "options.top_p"):
        assert word in caught.value.message


def test_a_lenient_server_names_what_it_ignores() -> None:
    received = chat_fields(lenient=True, nonsense=1, options={"num_gpu": 1, "temperature": 0.5}, template="x")
    assert set(received.ignored) == {"nonsense", "options.num_gpu", "template"}
    assert chat.job_of(received.fields).options == {"temperature": 0.5}


def test_logprobs() -> None:
    assert chat_job(logprobs=True).options == {"logprobs": 0}
    assert chat_job(logprobs=True, top_logprobs=3).options == {"logprobs": 3}


def test_calls_get_ids_and_results_those_of_their_call() -> None:
    fields = [
        {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": {"x": 1}}},
                                             {"function": {"name": "b", "arguments": {}}}]},
        {"role": "tool", "tool_name": "b", "content": "second"},
        {"role": "tool", "content": "first"},
        {"role": "tool", "content": "own", "tool_call_id": "mine"},
    ]  # fmt: skip
    messages = messages_of([ChatMessage.model_validate(item) for item in fields])
    first, second = (call["id"] for call in messages[0]["tool_calls"])
    assert first != second and len(first) == 9 and first.isalnum()
    assert messages[0]["tool_calls"][0]["function"] == {"name": "a", "arguments": {"x": 1}}
    assert [message.get("tool_call_id") for message in messages[1:]] == [second, first, "mine"]
    assert messages[1]["name"] == "b"


def test_a_format_is_a_schema_or_any_object() -> None:
    assert output_format(None) is None
    assert output_format("") is None
    any_object = output_format("json")
    assert any_object is not None and any_object.source == {"type": "object"}
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    wanted = output_format(schema)
    assert wanted is not None and wanted.source == schema


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("", None), (5, 5.0), (0, 0.0), (-1, -1.0), ("5m", 300.0), ("1h30m", 5400.0), ("300ms", 0.3),
     ("-1", -1.0), ("-1m", -1.0), ("0", 0.0), ("2.5s", 2.5), ("10", 10.0), ("-0", 0.0)],
)  # fmt: skip
def test_keep_alive(value: Any, seconds: float | None) -> None:
    assert seconds_of(value) == (pytest.approx(seconds) if seconds is not None else None)


@given(st.text(max_size=12))
def test_any_text_as_keep_alive_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = seconds_of(text)
    except InvalidField as error:
        assert error.param == "keep_alive"
    else:
        assert seconds is None or seconds >= -1.0


def test_a_prompt_is_a_conversation_for_models_that_hold_one() -> None:
    job = generate_job(prompt="Hello", system="Be brief.", images=[], suffix="", template="", context=[5, 6])
    assert job.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert job.prompt is None, "a model without a template has no place for the system prompt"
    assert job.context_ids == (5, 6)
    assert generate_job(prompt="Hello").prompt == "Hello"


def test_a_raw_prompt_is_given_as_it_is() -> None:
    job = generate_job(prompt="Once", raw=True)
    assert (job.messages, job.prompt) == (None, "Once")


@pytest.mark.parametrize(
    ("body", "param"),
    [({"suffix": "x"}, "suffix"), ({"images": ["x"]}, "images"), ({"raw": True, "system": "x"}, "system"),
     ({"raw": True, "context": [1]}, "context"), ({"width": 64}, "width"), ({"messages": []}, "messages")],
)  # fmt: skip
def test_generate_refuses_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        generate_job(prompt="x", **body)
    assert caught.value.param == param


def test_an_embedding_takes_no_sampling_options() -> None:
    with pytest.raises(InvalidField, match=r"options\.temperature is not supported: an embedding chooses no tokens"):
        check_body({"model": "m", "input": "x", "options": {"temperature": 1}}, embed.EmbedRequest, lenient=False)
    fields = check_body({"model": "m", "input": "x", "options": {"num_ctx": 9}}, embed.EmbedRequest, lenient=False)
    assert fields.fields.options is not None and fields.fields.options.num_ctx == 9


def plan(**body: Any) -> Any:
    return create.plan_of(check_body(body, create.CreateRequest, lenient=False).fields)


def test_a_plan() -> None:
    found = plan(model="mine", **{"from": "tiny"}, system="S", parameters={"num_ctx": 64, "temperature": 0},
                 license="MIT", messages=[{"role": "user", "content": "x"}])  # fmt: skip
    assert str(found.name) == "mine:latest"
    assert (found.base, found.system, found.context_limit, found.options) == ("tiny", "S", 64, {"temperature": 0})
    assert found.licenses == ["MIT"] and found.changes
    assert not plan(name="mine", **{"from": "tiny"}).changes


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "model"), ({"model": "a", "name": "b"}, "name"), ({"model": "a", "quantize": "q4_0"}, "quantize"),
     ({"model": "a", "modelfile": "FROM x"}, "modelfile"), ({"model": "a", "files": {"f": "12"}}, "files.f"),
     ({"model": "a", "parameters": {"num_gpu": 1}}, "parameters.num_gpu"),
     ({"model": "a", "parameters": {"num_predict": 0}}, "parameters.num_predict")],
)  # fmt: skip
def test_a_plan_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        plan(**body)
    assert caught.value.param == param


def test_parameters_are_written_as_a_modelfile_has_them() -> None:
    options = OptionFields.model_validate({"temperature": 0.7, "stop": ["a", "b"], "num_predict": 9}).sampling()
    assert parameter_lines(options, 512) == [
        ("temperature", "0.7"), ("stop", '"a"'), ("stop", '"b"'), ("num_predict", "9"), ("num_ctx", "512"),
    ]  # fmt: skip
