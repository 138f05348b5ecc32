"""Shuts this process in as it is told, and runs the program in it.

The parent sends one JSON document behind its length (4 bytes), and then the word that :mod:`.program` reports with.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

from . import landlock, namespaces, program, seccomp, system

_THREADS = 64
_OPEN_FILES = 64
_STACK = 64 * 2**20
_COUNTED_BY_NAMESPACE = (5, 14)
"""Since this kernel, the threads of a user are counted anew in every user namespace."""


def main(descriptor: int) -> NoReturn:
    """Read the order, follow it, and end with the program."""
    channel = socket.socket(fileno=descriptor)
    order = json.loads(_receive(channel, int.from_bytes(_receive(channel, 4), "big")))
    isolation = order["isolation"]
    os.umask(0o022)
    if isolation == "none":
        os.chdir(order["folder"])
        _limit(order, threads=None)
    else:
        _shut_in(order, isolation)
    os.umask(0o077)
    channel.send(b"ready\n")
    program.run(order["parts"], channel)


def _receive(channel: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = channel.recv(count - len(data))
        if not piece:
            sys.exit("the order ended too early")
        data += piece
    return data


def _shut_in(order: dict[str, Any], isolation: str) -> None:
    """Do what the isolation asks for; ends the process with a message if it cannot be done."""
    threads = False
    if isolation == "namespaces":
        threads = _own_namespaces(order)
    elif isolation == "bubblewrap":
        threads = os.getuid() != 0 and _kernel() >= _COUNTED_BY_NAMESPACE
    elif isolation == "seccomp":
        system.die_with_parent(order["parent"])
        os.setsid()
        os.chdir(order["folder"])
    _limit(order, threads=_THREADS if threads else None)
    system.drop_privileges()
    if isolation == "seccomp":
        landlock.restrict(order["readable"], namespaces.DEVICES)
    seccomp.install(threads=threads, attributes=isolation != "seccomp")


def _own_namespaces(order: dict[str, Any]) -> bool:
    """Go on as a process in new namespaces; this one waits for it. Returns whether threads can be counted."""
    system.die_with_parent(order["parent"])
    own_user = 0x70000000 + os.getpid()
    outside = os.geteuid()
    user_namespace = namespaces.enter()
    first = os.fork()
    if first:
        _follow(first)
    system.prctl(system.PR_SET_PDEATHSIG, system.SIGKILL)  # its parent is outside: it has no number to check
    namespaces.change_root(order["folder"], order["readable"], order["temporary_bytes"])
    worker = os.fork()
    if worker:  # the first process of the namespace: all others end with it
        _follow(worker)
    os.setsid()
    if user_namespace:
        return outside != 0 and _kernel() >= _COUNTED_BY_NAMESPACE
    return namespaces.become_nobody(own_user)


def _follow(child: int) -> NoReturn:
    """Keep nothing open, wait for a child and end as it does."""
    os.closerange(0, 256)
    while True:
        process, status = os.wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)


def _limit(order: dict[str, Any], threads: int | None) -> None:
    limits = {
        resource.RLIMIT_AS: order["memory_bytes"],
        resource.RLIMIT_FSIZE: order["file_bytes"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_STACK: _STACK,
    }
    if threads is not None:
        limits[resource.RLIMIT_NPROC] = threads
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (order["seconds"], order["seconds"] + 1))  # SIGXCPU, and SIGKILL later
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows too large is an error of writing
