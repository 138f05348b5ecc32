"""Addresses of pages, below :data:`ROOT`: NiceGUI puts that before them."""

from __future__ import annotations

from urllib.parse import quote, unquote

ROOT = "/studio"


def home() -> str:
    """Of the first page."""
    return "/"


def sign_in() -> str:
    """Of the page on which one signs in."""
    return "/sign-in"


def first_admin() -> str:
    """Of the page on which the first admin is made."""
    return "/first-admin"


def session() -> str:
    """Of the answer to whether a browser is signed in."""
    return "/session"


OPEN_TO_ALL = frozenset({sign_in(), first_admin(), session()})
"""What a browser gets without a session."""


def password() -> str:
    """Of the page on which one changes one's password."""
    return "/password"


def sign_out() -> str:
    """Of what ends a session."""
    return "/sign-out"


def settings() -> str:
    """Of the settings."""
    return "/settings"


def models() -> str:
    """Of the list of models."""
    return "/models"


def model(name: str) -> str:
    """Of one model. A server sees ``%2F`` as a slash, so that of a name is written ``~``, which no name has."""
    return f"/models/{quote(name.replace('/', '~'), safe=':~')}"


def model_name(part: str) -> str:
    """The name in an address of :func:`model`."""
    return unquote(part).replace("~", "/")


def compare_models(first: str | None = None, second: str | None = None) -> str:
    """Of two models side by side."""
    asked = {"first": first, "second": second}
    query = "&".join(f"{name}={quote(model, safe='')}" for name, model in asked.items() if model)
    return "/models/compare" + (f"?{query}" if query else "")


def playground(name: str | None = None) -> str:
    """Of the playground, with a model chosen."""
    return "/playground" + (f"?model={quote(name, safe='')}" if name else "")


def conversation(identifier: str) -> str:
    """Of a saved conversation in the playground."""
    return f"/playground?conversation={quote(identifier, safe='')}"


def runs() -> str:
    """Of the list of runs."""
    return "/runs"


def run(identifier: str) -> str:
    """Of one run."""
    return f"/runs/{quote(identifier, safe='')}"


def data() -> str:
    """Of the list of data."""
    return "/data"


def data_look(data: str, split: str | None = None) -> str:
    """Of a look at data: an absolute path on this machine, or a name in the library."""
    return f"/data/look?data={quote(data, safe='')}" + (f"&split={quote(split, safe='')}" if split else "")


def data_prepare(data: str | None = None, layout: str | None = None) -> str:
    """Of the recipe for preparing data, with the layout of its records as JSON."""
    asked = {"data": data, "layout": layout}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items() if value)
    return "/data/prepare" + (f"?{query}" if query else "")


def evaluate(model: str | None = None) -> str:
    """Of the page on which evaluations are started, with a model chosen."""
    return "/evaluate" + (f"?model={quote(model, safe='')}" if model else "")


def leaderboard() -> str:
    """Of the models by their scores."""
    return "/evaluate/leaderboard"


def comparison(first: str | None = None, second: str | None = None) -> str:
    """Of the comparison of two evaluations, by their keys."""
    asked = {"first": first, "second": second}
    query = "&".join(f"{name}={quote(key, safe='')}" for name, key in asked.items() if key)
    return "/evaluate/compare" + (f"?{query}" if query else "")


def evaluation(key: str) -> str:
    """Of one finished evaluation."""
    return f"/evaluate/results/{key}"


def evaluation_file(key: str, name: str) -> str:
    """Of a file of a finished evaluation."""
    return f"/evaluate/files/{key}/{name}"


def train_on(data: str) -> str:
    """Of the page for training, with data chosen: an absolute path on this machine, or a name in the library."""
    return f"/train?data={quote(data, safe='')}"


def explain(name: str | None = None) -> str:
    """Of the page that explains a text, with a model chosen."""
    return "/explain" + (f"?model={quote(name, safe='')}" if name else "")


def train(goal: str | None = None, model: str | None = None) -> str:
    """Of the page for training, with a goal (a kind of recipe) and a model chosen; see also :func:`train_on`."""
    asked = {"goal": goal, "model": model}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items() if value)
    return "/train" + (f"?{query}" if query else "")


def runs_comparison(*identifiers: str) -> str:
    """Of the comparison of runs."""
    return "/runs/compare" + (
        f"?runs={','.join(quote(identifier, safe='') for identifier in identifiers)}" if identifiers else ""
    )
