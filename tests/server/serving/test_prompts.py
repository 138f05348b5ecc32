"""How an answer will be read: what a template and the wishes of a job say about reasoning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmasos.engine.request import Grammar
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Placement, build_model
from llmasos.modeling.model import Model
from llmasos.server.serving.job import Job
from llmasos.server.serving.prompts import PreparedPrompt, prepare_prompt

THINKING = ChatTemplate(
    "{% if tools %}{{ tools | tojson }} <tool_call></tool_call>{% endif %}"
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>\n{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "now"}}


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Model:
    return build_model(ModelFolder.open(tiny_folder), Placement("float32"))


def prepared(model: Model, **fields: Any) -> PreparedPrompt:
    job = Job("m", messages=[{"role": "user", "content": "Hi"}], **fields)
    return prepare_prompt(job, model.tokenizer, THINKING, "m")


@pytest.mark.parametrize(("fields", "reasoning"), [
    ({}, True), ({"split_reasoning": False}, False), ({"tools": [TOOL]}, True),
    ({"tools": [TOOL], "tool_choice": "none"}, True), ({"tools": [TOOL], "tool_choice": "required"}, False),
    ({"output_format": Grammar("json_schema", {})}, False),
])  # fmt: skip
def test_reasoning_is_looked_for_where_it_may_be(model: Model, fields: dict[str, Any], reasoning: bool) -> None:
    found = prepared(model, **fields)
    assert found.reasoning is found.reasoning_begun is reasoning
    assert (found.tool_format is not None) == ("tools" in fields and fields.get("tool_choice") != "none")
