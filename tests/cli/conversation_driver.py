"""Holds a conversation with fake models on this terminal; tests start it on a pseudo-terminal."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_chat_model import FakeModel

from llmasos.cli import app
from llmasos.cli.chat.loop import Conversation
from llmasos.cli.chat.session import Session
from llmasos.errors import NotFound
from llmasos.home import home_directory

MODELS = {"fake:latest": 1000, "tiny:latest": 12, "encoder:latest": 10}


def open_model(name: str) -> FakeModel:
    if name not in MODELS:
        raise NotFound(f"there is no model {name!r}", hint="did you mean tiny:latest?")
    verbs = ("embed",) if name.startswith("encoder") else ("generate", "chat")
    return FakeModel(name, context_length=MODELS[name], verbs=verbs)


if __name__ == "__main__":
    app.choose_language([])
    conversation = Conversation(Session(open_model("fake:latest")), open_model, lambda: list(MODELS))
    conversation.run(home_directory() / "history" / "conversation.txt")
    print("left the conversation")
