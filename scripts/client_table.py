"""The table of clients that are known to work: read from the tests that run them, so that it cannot promise more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests" / "server"


@dataclass(frozen=True)
class Client:
    """A package, and where its tests are: a class of a file, or all tests of a file."""

    name: str
    file: str
    group: str | None = None


CLIENTS = (
    Client("`openai` (Python)", "test_clients.py", "TestOpenAI"),
    Client("`openai` (Python), Responses", "openai/responses/test_client.py"),
    Client("`openai` (JavaScript)", "openai_client.mjs"),
    Client("`litellm`", "test_clients.py", "TestLiteLLM"),
    Client("`langchain-openai`", "test_clients.py", "TestLangChain"),
    Client("`anthropic`", "anthropic/test_client.py"),
    Client("`ollama`", "ollama/test_real_client.py"),
)
#: What is looked for in the names of tests. OpenAI's Responses and Anthropic's API have no embeddings.
ABILITIES = {
    "chat": "chat|conversation",
    "stream": "stream",
    "tools": "tool",
    "structured output": "structured",
    "embeddings": "embedding",
    "errors": "error",
    "cancellation": "cancel|leaving_in_the_middle",
}


def table_rows() -> list[tuple[str, ...]]:
    """A row for each client: its name, and a dot for what a test shows."""
    rows = []
    for client in CLIENTS:
        tests = " ".join(_test_names(client))
        rows.append((client.name, *("●" if re.search(words, tests) else "" for words in ABILITIES.values())))
    return rows


def _test_names(client: Client) -> Iterator[str]:
    text = (TESTS / client.file).read_text(encoding="utf-8")
    if client.file.endswith(".mjs"):
        yield from (f"test_{name.replace(' ', '_')}" for name in re.findall(r'done\.push\("([^"]+)"\)', text))
        return
    body: list[ast.stmt] = ast.parse(text).body
    if client.group is not None:
        body = next(item.body for item in body if isinstance(item, ast.ClassDef) and item.name == client.group)
    yield from (item.name for item in body if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"))
