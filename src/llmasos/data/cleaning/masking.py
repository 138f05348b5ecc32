"""Masking of addresses and numbers that identify people, machines and accounts."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig

Kind = Literal["url", "email", "id_card", "credit_card", "phone", "ip_address"]


class _Pattern(NamedTuple):
    placeholder: str
    counted_as: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]


def _always(found: str) -> bool:
    return True


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_credit_card(found: str) -> bool:
    """13 to 19 digits, a known first digit, not all the same, and the Luhn digit right."""
    digits = re.sub(r"[ -]", "", found)
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(digits)


_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_id_card(found: str) -> bool:
    """Citizen number of China: a date of birth that exists and the check character right (GB 11643-1999)."""
    try:
        date(int(found[6:10]), int(found[10:12]), int(found[12:14]))
    except ValueError:
        return False
    total = sum(int(char) * weight for char, weight in zip(found, _WEIGHTS, strict=False))
    return found[17].upper() == "10X98765432"[total % 11]


def _is_ip(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def _is_phone(found: str) -> bool:
    """Seven to fifteen digits (ITU-T E.164); dates and decimal numbers are none."""
    digits = re.sub(r"\D", "", found)
    dated = re.fullmatch(r"(?:19|20)\d{2}[-. ]\d{1,2}[-. ]\d{1,2}", found.strip())
    return 7 <= len(digits) <= 15 and dated is None


_PATTERNS: dict[Kind, _Pattern] = {
    "url": _Pattern(
        "[URL]",
        "urls_masked",
        re.compile(
            r"(?<![A-Za-z0-9])(?:(?:https?|ftp)://|www\.(?=[a-z0-9]))"
            r"(?:[^\s<>\"'`{}|\\^\[\]()\u3000-\u303f\uff00-\uffef\u4e00-\u9fff]|\([^\s<>()]*\))+(?<![.,;:!?*~])",
            re.IGNORECASE,
        ),
        _always,
    ),
    "email": _Pattern(
        "[EMAIL]",
        "emails_masked",
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@"
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
        ),
        _always,
    ),
    "id_card": _Pattern(
        "[ID]", "id_cards_masked", re.compile(r"(?<![0-9A-Za-z])[1-9][0-9]{16}[0-9Xx](?![0-9A-Za-z])"), is_id_card
    ),
    "credit_card": _Pattern(
        "[CARD]",
        "credit_cards_masked",
        re.compile(r"(?<![0-9A-Za-z.-])[2-6][0-9]{3}(?:[ -]?[0-9]{2,6}){2,4}(?![0-9A-Za-z])"),
        is_credit_card,
    ),
    "ip_address": _Pattern(
        "[IP]",
        "ip_addresses_masked",
        re.compile(
            r"(?<![0-9A-Za-z.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}"
            r"|(?:[0-9A-Fa-f]{1,4}:){2,6}:(?:[0-9A-Fa-f]{1,4}:?){0,5}[0-9A-Fa-f]{1,4})(?![0-9A-Za-z:]|\.[0-9])"
        ),
        _is_ip,
    ),
    "phone": _Pattern(
        "[PHONE]",
        "phones_masked",
        re.compile(
            r"(?<![0-9A-Za-z.+/=_-])(?:"
            r"\+[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,4}\)?){2,6}"  # international
            r"|(?:\(0?[0-9]{2,4}\)|0[0-9]{2,3})[ -]?[0-9]{3,4}[ -]?[0-9]{4}"  # area code
            r"|1[3-9][0-9](?:[ -]?[0-9]{4}){2}"  # mobile numbers of China
            r"|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-. ])[2-9][0-9]{2}[-. ][0-9]{4}"  # North America
            r")(?![0-9A-Za-z_]|[.-][0-9])"
        ),
        _is_phone,
    ),
}
"""In the order in which they are looked for: a card number must not be taken for a phone number."""


class MaskPersonalData(TransformConfig):
    """Replace web and e-mail addresses, phone, ID card and credit card numbers and IP addresses by placeholders."""

    step: Literal["mask_personal_data"] = "mask_personal_data"
    kinds: tuple[Kind, ...] = Field(
        ("email", "phone", "id_card", "credit_card", "ip_address"),
        description="What to mask: url, email, phone, id_card (China, check character verified), credit_card (Luhn "
        "digit verified), ip_address.",
    )
    placeholders: dict[Kind, str] = Field(
        default_factory=dict,
        description="Text in place of what is masked, by kind. Default: [URL], [EMAIL], [PHONE], [ID], [CARD], [IP].",
    )

    @model_validator(mode="after")
    def _consistent(self) -> MaskPersonalData:
        unused = [kind for kind in self.placeholders if kind not in self.kinds]
        if unused:
            raise ValueError(f"placeholders for {', '.join(unused)}, which kinds does not name")
        return self

    def build(self) -> Transform:
        chosen = [
            pattern._replace(placeholder=self.placeholders.get(kind, pattern.placeholder))
            for kind, pattern in _PATTERNS.items()
            if kind in self.kinds
        ]
        return partial(_mask, patterns=chosen)


_ROUNDS = 16
"""Numbers that were written together are told apart one after the other; real text needs two rounds."""


def _mask(text: str, patterns: list[_Pattern]) -> tuple[str, Counts]:
    counts: Counter[str] = Counter()
    for _ in range(_ROUNDS):
        before = counts.total()
        for pattern in patterns:
            text, found = _replace(text, pattern)
            if found:
                counts[pattern.counted_as] += found
        if counts.total() == before:
            break
    return text, dict(counts) or NO_COUNTS


def _replace(text: str, pattern: _Pattern) -> tuple[str, int]:
    found = 0

    def placeholder(match: re.Match[str]) -> str:
        nonlocal found
        if match[0] == pattern.placeholder or not pattern.holds(match[0]):
            return match[0]
        found += 1
        return pattern.placeholder

    return pattern.pattern.sub(placeholder, text), found
