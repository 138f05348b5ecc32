"""Programs that ask the server, one for each of its APIs."""

from __future__ import annotations

from typing import Literal

OPENAI = """from openai import OpenAI

client = OpenAI(base_url="ADDRESS/v1", api_key="KEY")
answer = client.chat.completions.create(
    model="MODEL", messages=[{"role": "user", "content": "Hello"}], max_tokens=64
)
print(answer.choices[0].message.content)
"""

ANTHROPIC = """from anthropic import Anthropic

client = Anthropic(base_url="ADDRESS", api_key="KEY")
answer = client.messages.create(
    model="MODEL", messages=[{"role": "user", "content": "Hello"}], max_tokens=64
)
print(answer.content[0].text)
"""

OLLAMA = """from ollama import Client

client = Client(host="ADDRESS", headers={"authorization": "Bearer KEY"})
answer = client.chat(model="MODEL", messages=[{"role": "user", "content": "Hello"}])
print(answer.message.content)
"""

CURL = """curl ADDRESS/v1/chat/completions \\
  -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' \\
  -d '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64}'
"""

PROGRAMS: tuple[tuple[str, Literal["python", "bash"], str], ...] = (
    ("OpenAI", "python", OPENAI), ("Anthropic", "python", ANTHROPIC), ("Ollama", "python", OLLAMA),
    ("curl", "bash", CURL),
)  # fmt: skip


def filled(program: str, address: str, model: str, key: str = "KEY") -> str:
    """A program for this server."""
    return program.replace("ADDRESS", address).replace("MODEL", model).replace("KEY", key)
