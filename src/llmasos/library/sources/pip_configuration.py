"""What pip is configured to do: indexes, mirrors, folders of wheels, certificates, proxies, credentials.

pip itself merges its files and variables (``pip config list``), so a machine on which ``pip install`` works needs
nothing more for our pulls.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import PathFinder

from llmasos.errors import MissingDependency, Unavailable
from llmasos.i18n import t

logger = logging.getLogger(__name__)

_TIMEOUT = 60.0
_DEFAULT_INDEX = re.compile(r"--index-url <url>.*?\(default\s+(https?://[^)\s]+)\)", re.DOTALL)


@dataclass(frozen=True)
class PipConfiguration:
    """The options of pip that decide where packages come from."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    trusted_hosts: frozenset[str] = frozenset()
    certificates: str | None = None
    client_certificate: str | None = None
    proxy: str | None = None


def pip_command() -> list[str]:
    """How to run pip: this interpreter's, else the one on the PATH.

    Raises:
        MissingDependency: there is no pip.
    """
    # Not importlib.util.find_spec: before Python 3.12 the import hook of setuptools takes even the look for pip as the
    # start of pip and gives up its own distutils for the whole process, after which torch.compile fails.
    if PathFinder.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip", "pip3"):
        found = shutil.which(name)
        if found:
            return [found]
    raise MissingDependency(
        t("pip is not installed; it tells where packages come from"),
        hint=t("Install it with `{command}`.", command=f"{sys.executable} -m ensurepip"),
    )


def run_pip(*arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run pip without questions and without its check for a newer pip; the caller looks at the exit status."""
    command = [*pip_command(), *arguments, "--disable-pip-version-check", "--no-input"]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(t("pip did not answer within {seconds} seconds", seconds=timeout)) from error
    except OSError as error:
        raise MissingDependency(t("pip cannot be run: {error}", error=error)) from error


@lru_cache(maxsize=1)
def _listed(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Keys as ``section.option`` with their values; ``environment`` is the cache key."""
    result = run_pip("config", "list", timeout=_TIMEOUT)
    if result.returncode != 0:
        raise Unavailable(
            t("pip cannot read its configuration: {error}", error=result.stderr.strip()),
            hint=t("`pip config debug` shows the files that pip reads."),
        )
    values: dict[str, str] = {}
    for line in result.stdout.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            values[key.strip()] = str(ast.literal_eval(value.strip()))
    return values


@lru_cache(maxsize=1)
def default_index() -> str:
    """The index that pip asks when its configuration names none; only its help text says so.

    Raises:
        Unavailable: this pip does not say.
    """
    result = run_pip("help", "download", timeout=_TIMEOUT)
    found = _DEFAULT_INDEX.search(result.stdout)
    if found is None:
        raise Unavailable(
            t("pip does not say which index it asks by default"),
            hint=t("Name one: pip config set global.index-url URL"),
        )
    return found[1]


def read_pip_configuration() -> PipConfiguration:
    """The configuration of ``pip download`` on this machine.

    Raises:
        MissingDependency: there is no pip.
        Unavailable: pip cannot read its configuration.
    """
    environment = tuple(sorted((key, value) for key, value in os.environ.items() if key.startswith("PIP_")))
    values = _listed(environment)

    def option(name: str) -> str | None:
        # pip's order: variables over the command's section over the global section.
        for section in (":env:", "download", "global"):
            value = values.get(f"{section}.{name}")
            if value is not None and value.strip():
                return value
        return None

    indexes: list[str] = []
    if (option("no-index") or "").strip().lower() not in ("1", "true", "yes", "on"):
        indexes = [(option("index-url") or default_index()).strip(), *(option("extra-index-url") or "").split()]
    return PipConfiguration(
        indexes=tuple(dict.fromkeys(indexes)),
        find_links=tuple((option("find-links") or "").split()),
        trusted_hosts=frozenset((option("trusted-host") or "").split()),
        certificates=option("cert"),
        client_certificate=option("client-cert"),
        proxy=option("proxy"),
    )
