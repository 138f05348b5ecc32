"""Running the program, and saying how it ended.

The parts of a program are compiled one by one, so that text left open at the end of one cannot swallow the next. That
the last one was reached is told with a word that the parent sends ahead and that stays unread in the kernel until
then; what the program prints, how it exits and what it replaces in the interpreter cannot stand for it.
"""

from __future__ import annotations

import builtins
import json
import linecache
import os
import socket
import sys
import traceback
import types
from collections.abc import Sequence
from typing import NoReturn

WORD = 16
"""Bytes of the word."""

_LONGEST_TRACE = 20_000


def run(parts: Sequence[str], channel: socket.socket) -> NoReturn:
    """Run the parts in one namespace as ``__main__``, report to the channel, and end the process."""
    leave, receive, send, dumps = os._exit, channel.recv, channel.send, json.dumps
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    sys.argv = ["program"]
    output, errors = sys.stdout, sys.stderr
    format_exception, compile_part, execute = traceback.format_exception, compile, exec
    ended, trace = "passed", ""
    try:
        for number, part in enumerate(parts, 1):
            name = f"<part {number}>" if len(parts) > 1 else "<program>"
            linecache.cache[name] = (len(part), None, part.splitlines(keepends=True), name)
            execute(compile_part(part, name, "exec", dont_inherit=True), main.__dict__)
    except MemoryError:
        ended = "memory"
    except SystemExit as error:
        ended, trace = "failed", f"the program ended itself before its end: SystemExit({error.code!r})\n"
    except BaseException as error:  # noqa: BLE001 - whatever a program raises is its failure
        ended = "failed"
        try:
            trace = "".join(format_exception(error)[-40:])[-_LONGEST_TRACE:]
        except BaseException:  # noqa: BLE001 - an exception that cannot be shown, such as one with a hostile __str__
            trace = f"{type(error).__name__}\n"
    try:
        output.flush()
        errors.write(trace)
        errors.flush()
    except BaseException:  # noqa: BLE001, S110 - the program closed or replaced them: there is nothing to show
        pass
    word = receive(WORD)
    send(dumps({"word": word.hex(), "ended": ended}).encode() + b"\n")
    leave(0)
