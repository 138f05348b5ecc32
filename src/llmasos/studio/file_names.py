"""Names of files as strangers send them, made into names that are safe in a folder of ours."""

from __future__ import annotations

import re
import unicodedata

from llmasos.data.sources.compression import SUFFIXES
from llmasos.data.sources.scan import ENDINGS, ending_of
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

_MOST_BYTES = 160
"""Of a name; file systems allow 255, and numbers and endings of temporary files are added."""
_SEPARATORS = re.compile(r"[/\\]")
_RESERVED = re.compile(r'[<>:"|?*]')  # not allowed on Windows, where the folder may be opened
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def safe_name(name: str) -> str:
    """The name under which a file is kept: its last part, without what is invisible, reserved, hidden or too long.

    Raises:
        InvalidRequest: nothing is left, or the ending tells no format of data.
    """
    last = _SEPARATORS.split(name)[-1]
    visible = "".join(
        char for char in unicodedata.normalize("NFC", last) if unicodedata.category(char) not in _INVISIBLE
    )
    plain = re.sub(r"\s+", " ", _RESERVED.sub("_", visible)).strip(" .")
    ending = ending_of(plain)
    if ending is None:
        raise InvalidRequest(
            t("{name!r} is no file of data that is known here", name=_shown(last)),
            hint=t("Its name should end in one of {endings}; {compressed} may follow.",
                   endings=", ".join(ENDINGS), compressed=", ".join(SUFFIXES)),
        )  # fmt: skip
    stem = plain[: -len(ending)].rstrip(" .")
    if not stem:
        raise InvalidRequest(t("{name!r} is no name of a file", name=_shown(last)), hint=t("Choose another name."))
    if _DEVICES.fullmatch(stem):
        stem = f"_{stem}"
    return _cut(stem, _MOST_BYTES - len(ending.encode())) + ending


def numbered(name: str, number: int) -> str:
    """The name with a number before its ending: ``data-2.csv.gz``; 1 adds none."""
    if number == 1:
        return name
    ending = ending_of(name) or ""
    return f"{name[: len(name) - len(ending)]}-{number}{ending}"


def _cut(text: str, size: int) -> str:
    """As many characters from the beginning as fit into this many bytes."""
    return text.encode()[:size].decode(errors="ignore").rstrip(" .")


def _shown(name: str) -> str:
    """A name as errors show it, if need be its beginning."""
    return name if len(name) <= 80 else f"{name[:79]}…"
