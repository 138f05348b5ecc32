"""Addresses without the credentials in them, fit to be shown and pasted into a report."""

from __future__ import annotations

import re

_USER_INFORMATION = re.compile(r"(?<=://)[^/@\s]*@(?=[^/\s])")
_SECRET_QUERY = re.compile(r"(?i)([?&](?:[^=&\s]*(?:token|key|secret|password|signature|sig|auth)[^=&\s]*)=)[^&\s]+")


def mask_url(text: str) -> str:
    """``text`` with user names, passwords and tokens of every address in it replaced by ``***``."""
    return _SECRET_QUERY.sub(r"\1***", _USER_INFORMATION.sub("***@", text))
