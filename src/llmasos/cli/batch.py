"""Texts for a command from its arguments, standard input or a file, and results as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import typer

from llmasos import progress
from llmasos.cli.output import Output
from llmasos.errors import AlreadyExists, InvalidRequest, LLMasOSError, NotFound
from llmasos.i18n import t

_Result = TypeVar("_Result")

PARTLY_FAILED = 1
"""Exit code of a batch in which some lines failed and were skipped."""
CHUNK = 64
"""Lines that are handed to the model together; results are written after each chunk."""


@dataclass(frozen=True)
class Item:
    """One input. ``line`` is its number in the file, from 1; ``id`` and ``pair`` are what the file says of it."""

    text: str
    line: int
    id: str | int | None = None
    pair: str | None = None


def texts_of(arguments: Sequence[str]) -> list[str]:
    """The texts of the command line; ``-``, or nothing with a pipe behind, stands for standard input.

    Raises:
        InvalidRequest: there is no text.
    """
    if list(arguments) == ["-"] or (not arguments and not sys.stdin.isatty()):
        text = sys.stdin.read()
        if not text.strip():
            raise InvalidRequest(t("standard input is empty"), hint=_usage())
        return [text.removesuffix("\n")]
    if not arguments:
        raise InvalidRequest(t("there is no text"), hint=_usage())
    return list(arguments)


def _usage() -> str:
    return t("Give a text, `-` for standard input, or --file for a file of texts.")


def read_items(path: Path, *, pairs: bool = False) -> list[Item]:
    """The inputs of a file: ``.jsonl`` has a JSON text or object on each line, any other file a text on each line.

    An object has ``text`` (or ``prompt``) and may have ``id``, and ``pair`` where ``pairs``. Empty lines are left out.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: it is not UTF-8, a line is malformed, or there is no text in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFound(t("there is no file {path}", path=path), hint=t("Check the path.")) from error
    except IsADirectoryError as error:
        raise InvalidRequest(t("{path} is a folder, not a file", path=path), hint=t("Check the path.")) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            t("{path} is not UTF-8 text: byte {position}", path=path, position=error.start),
            hint=t("Convert it, for example: iconv -f GB18030 -t UTF-8"),
        ) from error
    structured = path.suffix.lower() in (".jsonl", ".ndjson")
    items = [
        _structured(path, number, line, pairs=pairs) if structured else Item(line, number)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not items:
        raise InvalidRequest(t("{path} holds no text", path=path), hint=t("Put one text on each line."))
    return items


def _structured(path: Path, number: int, line: str, *, pairs: bool) -> Item:
    where = f"{path}:{number}"
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InvalidRequest(
            t("{where} is not JSON: {problem}", where=where, problem=error),
            hint=t("A line is a JSON text, or an object such as {example}.", example='{"text": "..."}'),
        ) from error
    if isinstance(value, str):
        return Item(value, number)
    if isinstance(value, dict):
        allowed = ["text", "prompt", "id", *(["pair"] if pairs else [])]
        unknown = [name for name in value if name not in allowed]
        text = value.get("text", value.get("prompt"))
        pair, identity = value.get("pair"), value.get("id")
        good = isinstance(text, str) and isinstance(pair, str | None) and isinstance(identity, str | int | None)
        if good and not unknown and not ("text" in value and "prompt" in value):
            return Item(str(text), number, identity, pair)
        problem = t("unknown key {name}", name=unknown[0]) if unknown else t("it needs one text")
        raise InvalidRequest(f"{where}: {problem}", hint=t("Keys of a line: {names}.", names=", ".join(allowed)))
    raise InvalidRequest(
        t("{where} is neither a text nor an object", where=where),
        hint=t("A line is a JSON text, or an object such as {example}.", example='{"text": "..."}'),
    )


@dataclass(frozen=True)
class Inputs:
    """All inputs of one command. Those of a file go through :meth:`write`."""

    items: list[Item]
    from_file: bool
    output: Path | None = None
    skip_errors: bool = False

    def write(
        self,
        work: Callable[[Sequence[Item]], Sequence[_Result]],
        record: Callable[[Item, _Result], dict[str, Any]],
        out: Output,
    ) -> None:
        """Work through all items and write one JSON line for each, to the output file or standard output.

        An item that the model refuses (too long, say) ends the run with its line number, or with ``skip_errors``
        becomes a line with ``error`` among the others, and the command ends with :data:`PARTLY_FAILED`.
        """
        failed = 0
        with ExitStack() as stack:
            target = stack.enter_context(self.output.open("w", encoding="utf-8")) if self.output else sys.stdout
            stack.enter_context(out.progress())
            task = stack.enter_context(progress.current().task(t("texts"), total=len(self.items)))
            for start in range(0, len(self.items), CHUNK):
                chunk = self.items[start : start + CHUNK]
                for item, outcome in zip(chunk, _outcomes(chunk, work), strict=True):
                    line: dict[str, Any] = {"line": item.line} | ({} if item.id is None else {"id": item.id})
                    if isinstance(outcome, LLMasOSError):
                        if not self.skip_errors:
                            raise _located(outcome, item.line)
                        failed += 1
                        line["error"] = {"code": outcome.code, "message": outcome.message, "hint": outcome.hint}
                    else:
                        line |= record(item, outcome)
                    target.write(json.dumps(line, ensure_ascii=False) + "\n")
                target.flush()
                task.advance(len(chunk))
        if failed:
            out.warn(t("{failed} of {count} lines failed", failed=failed, count=len(self.items)))
            raise typer.Exit(PARTLY_FAILED)


def gather(
    arguments: Sequence[str] | None,
    file: Path | None,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    skip_errors: bool = False,
    pairs: bool = False,
    default_pair: str | None = None,
) -> Inputs:
    """The inputs of a command, checked before a model is loaded.

    Raises:
        InvalidRequest: texts and file are both or neither given, malformed, or options that need a file lack one.
        NotFound: the file, or the folder of the output, is not there.
        AlreadyExists: the output is there, and ``overwrite`` is off.
    """
    if file is None:
        for option, given in (("--output", output is not None), ("--overwrite", overwrite),
                              ("--skip-errors", skip_errors)):  # fmt: skip
            if given:
                raise InvalidRequest(
                    t("{option} is for --file", option=option),
                    hint=t("Use the shell to keep a single result: llmasos ... > result.txt"),
                )
        texts = texts_of(arguments or [])
        return Inputs([Item(text, number, pair=default_pair) for number, text in enumerate(texts, start=1)], False)
    if arguments:
        raise InvalidRequest(t("give a text or --file, not both"), hint=t("Leave one of them out."))
    if output is not None:
        if output.exists() and not overwrite:
            raise AlreadyExists(t("{path} exists", path=output), hint=t("Pass --overwrite to replace it."))
        if not output.parent.is_dir():
            raise NotFound(t("there is no folder {path}", path=output.parent), hint=t("Check the path."))
    items = [replace(item, pair=item.pair or default_pair) for item in read_items(file, pairs=pairs)]
    return Inputs(items, True, output, skip_errors)


def _outcomes(
    chunk: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[_Result]]
) -> list[_Result | InvalidRequest]:
    """Results of a chunk; if the model refuses it, of each item alone, so that only the culprit fails."""
    try:
        return list(work(chunk))
    except InvalidRequest as error:
        if len(chunk) == 1:
            return [error]
    return [outcome for item in chunk for outcome in _outcomes([item], work)]


def _located(error: LLMasOSError, line: int) -> LLMasOSError:
    """The same error, saying where it was."""
    return type(error)(
        t("line {line}: {message}", line=line, message=error.message),
        hint=" ".join(filter(None, (error.hint, t("--skip-errors goes on with the other lines.")))),
    )
