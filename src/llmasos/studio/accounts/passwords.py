"""Passwords, kept as argon2id hashes."""

from __future__ import annotations

import secrets
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING

from llmasos.errors import InvalidRequest, MissingDependency
from llmasos.i18n import t

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST, LONGEST = 10, 256


class Passwords:
    """Makes and checks hashes.

    Args:
        hasher: of argon2-cffi, with the cost that is wanted; default: that of RFC 9106 for servers with little memory.

    Raises:
        MissingDependency: argon2-cffi is not installed.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        try:
            from argon2 import PasswordHasher
        except ImportError as error:
            raise MissingDependency(
                t("signing in needs the package {package}", package="argon2-cffi"), hint='pip install "llmasos[studio]"'
            ) from error
        self._hasher = hasher or PasswordHasher()

    @cached_property
    def _of_nobody(self) -> str:
        """What the password of an unknown name is compared with: the answer takes as long as for a known one."""
        return self._hasher.hash(secrets.token_urlsafe(32))

    def hash(self, password: str) -> str:
        """The hash of a password, with a salt of its own."""
        return self._hasher.hash(_normal(password))

    def is_right(self, password: str, hashed: str | None) -> bool:
        """Whether a hash is that of the password; ``None`` stands for an unknown name, and is as much work."""
        from argon2.exceptions import VerificationError

        of_nobody = self._of_nobody
        try:
            right = self._hasher.verify(of_nobody if hashed is None else hashed, _normal(password))
        except VerificationError:
            return False
        return right and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Whether a hash was made at another cost than ours."""
        return self._hasher.check_needs_rehash(hashed)


def check_new(password: str, name: str) -> None:
    """Whether a password may be chosen.

    Raises:
        InvalidRequest: it is too short, too long, or the person's name.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequest(
            t("a password has {low} to {high} characters; this one has {count}", low=SHORTEST, high=LONGEST,
              count=len(password)),
            hint=t("A few words in a row are easy to keep in mind and hard to guess."),
        )  # fmt: skip
    if password.casefold() == name.casefold():
        raise InvalidRequest(
            t("a password must not be the name"),
            hint=t("A few words in a row are easy to keep in mind and hard to guess."),
        )


def _normal(password: str) -> str:
    """One form of what keyboards write differently: RFC 8265 asks for NFC."""
    return unicodedata.normalize("NFC", password)
