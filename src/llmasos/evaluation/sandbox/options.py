"""How programs are shut in, what they may take, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Isolation(StrEnum):
    """What shuts a program in."""

    AUTO = "auto"
    """The first of the next three that works on this machine; an error if none does."""
    BUBBLEWRAP = "bubblewrap"
    """The program ``bwrap``: a file system, processes and a network of its own."""
    NAMESPACES = "namespaces"
    """The same made by us, without any helper program."""
    SECCOMP = "seccomp"
    """A filter of system calls and Landlock: the file system stays where it is, and is shut."""
    NONE = "none"
    """Nothing but limits of memory and time. For machines that hold nothing and are thrown away."""


class Limits(BaseModel):
    """What a program may take. Beyond any of them it fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(10.0, gt=0, le=86_400, description="Seconds of processor time.")
    wall_seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds by the clock; a program may sleep, or have to wait. Default: thrice the processor time "
        "and 3 for the start.",
    )
    memory: int = Field(1024, ge=64, description="MiB of memory.")
    file_size: int = Field(16, ge=1, description="MiB of one file.")
    temporary: int = Field(64, ge=1, description="MiB of the temporary folder.")
    output: int = Field(64, ge=1, description="KiB kept of each of the program's two outputs.")

    @property
    def deadline(self) -> float:
        """Seconds by the clock after which a program is stopped."""
        return self.wall_seconds if self.wall_seconds is not None else 3 * self.seconds + 3


class OutcomeStatus(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    """It ran to its last line."""
    FAILED = "failed"
    """It raised, ended itself before its last line, or was killed by a signal."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    ERROR = "error"
    """The sandbox failed, not the program; ``stderr`` says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a program."""

    status: OutcomeStatus
    stdout: str
    stderr: str
    seconds: float
    """By the clock, the start of the interpreter included."""
    dropped_bytes: int = 0
    """Bytes of its outputs beyond :attr:`Limits.output`, which are not kept."""
