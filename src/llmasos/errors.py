"""The one exception tree.

Every error carries a message (what was wrong, where, the value, what is allowed), a hint (what to do next),
a stable ``code``, the exit code that the CLI returns and the HTTP status that the servers answer with.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

from llmasos.i18n import t


class LLMasOSError(Exception):
    """Base of all errors that a user can cause or repair."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidRequest(LLMasOSError, ValueError):
    """A value that a caller passed is not allowed."""

    code = "invalid_request"
    exit_code = 2
    http_status = 400


class InvalidReference(InvalidRequest):
    """The text is not a reference to an artefact or a source."""

    code = "invalid_reference"


class InvalidRecipe(InvalidRequest):
    """A recipe or configuration file has problems; all of them are in the message."""

    code = "invalid_recipe"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the model's context and truncation was not asked for."""

    code = "context_length_exceeded"


class Unsupported(InvalidRequest):
    """The model, format or machine cannot do what was asked."""

    code = "unsupported"


class NotFound(LLMasOSError, LookupError):
    """Nothing has this name."""

    code = "not_found"
    exit_code = 3
    http_status = 404


class AlreadyExists(LLMasOSError):
    """The name is taken."""

    code = "already_exists"
    exit_code = 2
    http_status = 409


class InUse(LLMasOSError):
    """Something else still needs what was to be removed or changed."""

    code = "in_use"
    exit_code = 2
    http_status = 409


class IntegrityError(LLMasOSError):
    """Stored or received bytes differ from their digest, or a file is damaged or truncated."""

    code = "integrity_error"
    exit_code = 4
    http_status = 500


class UnsafeContent(LLMasOSError):
    """A file tries to run code, leave its folder or otherwise do what data must not do."""

    code = "unsafe_content"
    exit_code = 4
    http_status = 422


class Unavailable(LLMasOSError):
    """A service, the network or a mirror cannot be reached now."""

    code = "unavailable"
    exit_code = 5
    http_status = 503


class Unauthorised(LLMasOSError):
    """Credentials are missing, wrong or insufficient; or a gated repository needs its terms accepted."""

    code = "unauthorised"
    exit_code = 6
    http_status = 401


class Forbidden(LLMasOSError):
    """The credentials are good, and do not allow this."""

    code = "forbidden"
    exit_code = 6
    http_status = 403


class LicenseNotAccepted(LLMasOSError):
    """The artefact's licence needs to be accepted once before it is used."""

    code = "license_not_accepted"
    exit_code = 6
    http_status = 403


class TooManyRequests(LLMasOSError):
    """The queue is full or a limit of a key is reached; carries the seconds after which to try again."""

    code = "too_many_requests"
    exit_code = 5
    http_status = 429

    def __init__(self, message: str, *, retry_after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DeadlineExceeded(LLMasOSError, TimeoutError):
    """The request did not finish within the time that it was given."""

    code = "deadline_exceeded"
    exit_code = 5
    http_status = 504


class RequestTooLarge(InvalidRequest):
    """The body of a request is larger than the server takes."""

    code = "request_too_large"
    http_status = 413


class OutOfDisk(LLMasOSError):
    """Too little free disk space; carries the bytes needed and free."""

    code = "out_of_disk"
    exit_code = 7
    http_status = 507

    def __init__(self, message: str, *, needed: int, free: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.free = free


class OutOfMemory(LLMasOSError, MemoryError):
    """The estimate of the memory needed exceeds what is there; carries both in bytes."""

    code = "out_of_memory"
    exit_code = 7
    http_status = 507

    def __init__(self, message: str, *, needed: int, available: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.available = available


class ScoreOutOfBounds(LLMasOSError):
    """A score of an evaluation does not keep the bound that was set for it."""

    code = "score_out_of_bounds"
    exit_code = 9
    http_status = 422


class NotFinite(LLMasOSError, ArithmeticError):
    """Training gave a loss or gradients that are not finite numbers."""

    code = "not_finite"
    exit_code = 1
    http_status = 500


class MissingDependency(LLMasOSError, ImportError):
    """An optional package is not installed; the hint says which extra brings it."""

    code = "missing_dependency"
    exit_code = 8
    http_status = 501


def suggest(name: str, allowed: Iterable[str], *, limit: int = 3) -> list[str]:
    """The entries of ``allowed`` nearest to ``name``, best first."""
    choices = list(allowed)
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=limit, cutoff=0.55)
    found = [lowered[item] for item in close]
    for choice in choices:
        if len(found) >= limit:
            break
        if name and name.lower() in choice.lower() and choice not in found:
            found.append(choice)
    return found


def did_you_mean(name: str, allowed: Iterable[str]) -> str | None:
    """A hint that offers the nearest names, or ``None`` when nothing is near."""
    near = suggest(name, allowed)
    return t("did you mean {names}?", names=", ".join(near)) if near else None
