"""Addresses of pages, below :data:`ROOT`: NiceGUI puts that before them."""

from __future__ import annotations

from urllib.parse import quote, unquote

ROOT = "/studio"


def home() -> str:
    """Of the first page."""
    return "/"


def models() -> str:
    """Of the list of models."""
    return "/models"


def model(name: str) -> str:
    """Of one model. A server sees ``%2F`` as a slash, so that of a name is written ``~``, which no name has."""
    return f"/models/{quote(name.replace('/', '~'), safe=':~')}"


def model_name(part: str) -> str:
    """The name in an address of :func:`model`."""
    return unquote(part).replace("~", "/")


def playground(name: str | None = None) -> str:
    """Of the playground, with a model chosen."""
    return "/playground" + (f"?model={quote(name, safe='')}" if name else "")


def runs() -> str:
    """Of the list of runs."""
    return "/runs"


def run(identifier: str) -> str:
    """Of one run."""
    return f"/runs/{quote(identifier, safe='')}"
