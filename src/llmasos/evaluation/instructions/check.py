"""Checking answers: one instruction, or all of a prompt, strictly and loosely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.evaluation.instructions import chinese, formats, keywords, length, style
from llmasos.evaluation.instructions.base import Instruction
from llmasos.i18n import t


@cache
def _instructions() -> dict[str, type[Instruction]]:
    modules = (keywords, length, formats, style, chinese)
    kinds = (
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Instruction) and item is not Instruction
    )
    return {kind.name: kind for kind in kinds}


def names() -> tuple[str, ...]:
    """The names of all instructions, sorted."""
    return tuple(sorted(_instructions()))


def parse(name: str, arguments: Mapping[str, Any] | None) -> Instruction:
    """The instruction of a name with its arguments; those that are null count as not given.

    Raises:
        InvalidRequest: there is no such instruction, or it takes other arguments.
    """
    kind = _instructions().get(name)
    if kind is None:
        raise InvalidRequest(
            t("there is no instruction {name!r} that can be checked", name=name),
            hint=did_you_mean(name, names()) or t("There are: {names}", names=", ".join(names())),
        )
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or '.'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise InvalidRequest(
            t("the arguments of the instruction {name} are wrong: {problems}", name=name, problems=problems),
            hint=t("It takes: {arguments}", arguments=", ".join(kind.model_fields) or t("none")),
        ) from error


def check(name: str, arguments: Mapping[str, Any] | None, prompt: str, response: str) -> bool:
    """Whether a response follows one instruction; one without text follows none.

    Raises:
        InvalidRequest: as :func:`parse`.
    """
    return _strict(parse(name, arguments), prompt, response)


@dataclass(frozen=True, slots=True)
class Followed:
    """For every instruction of a prompt, whether a response follows it."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]
    """Also if only the response without its first line, its last line or its asterisks does (Zhou et al., 2023)."""


def follow(
    instructions: Sequence[str], arguments: Sequence[Mapping[str, Any] | None], prompt: str, response: str
) -> Followed:
    """Check a response against all instructions of its prompt.

    Args:
        arguments: those of each instruction, in their order.

    Raises:
        InvalidRequest: as :func:`parse`; or there are not as many arguments as instructions.
    """
    if len(instructions) != len(arguments):
        raise InvalidRequest(
            t("there are {instructions} instructions and {arguments} sets of arguments", instructions=len(instructions),
              arguments=len(arguments)),
            hint=t("Give every instruction its arguments, an empty object where it takes none."),
        )  # fmt: skip
    parsed = [parse(name, given) for name, given in zip(instructions, arguments, strict=True)]
    strict = tuple(_strict(instruction, prompt, response) for instruction in parsed)
    readings = loose_readings(response)
    loose = tuple(
        done or any(_strict(instruction, prompt, reading) for reading in readings)
        for done, instruction in zip(strict, parsed, strict=True)
    )
    return Followed(strict, loose)


def loose_readings(response: str) -> list[str]:
    """The response without its first line, its last line, or both, each with its asterisks and without."""
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]))


def _strict(instruction: Instruction, prompt: str, response: str) -> bool:
    return bool(response.strip()) and instruction.followed(response, prompt)
