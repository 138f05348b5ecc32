"""Licences of models: their usual names, which forbid commercial use, and which bind their user to terms.

Such a licence is put before the user once; that it was accepted is kept in ``licenses.json`` of the home folder.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmasos.errors import InvalidRecipe, LicenseNotAccepted
from llmasos.i18n import t

FILE = "licenses.json"


@dataclass(frozen=True)
class License:
    """A licence. ``terms`` is why it must be accepted: ``"non-commercial"``, ``"terms"`` or ``None`` (it need not)."""

    name: str
    url: str | None = None
    terms: str | None = None

    @property
    def needs_acceptance(self) -> bool:
        """Whether the user must be asked before the first use."""
        return self.terms is not None


_CREATIVE_COMMONS = "https://creativecommons.org/licenses"
_FREE = {
    "apache-2.0": "Apache-2.0", "mit": "MIT", "bsd": "BSD", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "isc": "ISC", "zlib": "Zlib", "unlicense": "Unlicense", "wtfpl": "WTFPL",
    "mpl-2.0": "MPL-2.0", "gpl-2.0": "GPL-2.0", "gpl-3.0": "GPL-3.0", "lgpl-2.1": "LGPL-2.1", "lgpl-3.0": "LGPL-3.0",
    "agpl-3.0": "AGPL-3.0", "artistic-2.0": "Artistic-2.0", "afl-3.0": "AFL-3.0", "ecl-2.0": "ECL-2.0",
    "eupl-1.1": "EUPL-1.1", "eupl-1.2": "EUPL-1.2", "cc0-1.0": "CC0-1.0", "cc-by-2.0": "CC-BY-2.0",
    "cc-by-3.0": "CC-BY-3.0", "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-3.0": "CC-BY-SA-3.0", "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0", "cdla-permissive-2.0": "CDLA-Permissive-2.0",
}  # fmt: skip
_BOUND = (
    License("CC-BY-NC-2.0", f"{_CREATIVE_COMMONS}/by-nc/2.0/", "non-commercial"),
    License("CC-BY-NC-3.0", f"{_CREATIVE_COMMONS}/by-nc/3.0/", "non-commercial"),
    License("CC-BY-NC-4.0", f"{_CREATIVE_COMMONS}/by-nc/4.0/", "non-commercial"),
    License("CC-BY-NC-SA-3.0", f"{_CREATIVE_COMMONS}/by-nc-sa/3.0/", "non-commercial"),
    License("CC-BY-NC-SA-4.0", f"{_CREATIVE_COMMONS}/by-nc-sa/4.0/", "non-commercial"),
    License("CC-BY-NC-ND-4.0", f"{_CREATIVE_COMMONS}/by-nc-nd/4.0/", "non-commercial"),
    License("qwen-research", "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE", "non-commercial"),
    License("mrl", "https://mistral.ai/licenses/MRL-0.1.md", "non-commercial"),
    License("mnpl", "https://mistral.ai/licenses/MNPL-0.1.md", "non-commercial"),
    License("gemma", "https://ai.google.dev/gemma/terms", "terms"),
    License("llama2", "https://ai.meta.com/llama/license/", "terms"),
    License("llama3", "https://www.llama.com/llama3/license/", "terms"),
    License("llama3.1", "https://www.llama.com/llama3_1/license/", "terms"),
    License("llama3.2", "https://www.llama.com/llama3_2/license/", "terms"),
    License("llama3.3", "https://www.llama.com/llama3_3/license/", "terms"),
    License("llama4", "https://www.llama.com/llama4/license/", "terms"),
    License("qwen", "https://huggingface.co/Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE", "terms"),
    License("openrail", "https://huggingface.co/blog/open_rail", "terms"),
    License("openrail++", "https://huggingface.co/blog/open_rail", "terms"),
    License("creativeml-openrail-m", "https://huggingface.co/spaces/CompVis/stable-diffusion-license", "terms"),
    License("bigscience-openrail-m", "https://bigscience.huggingface.co/blog/bigscience-openrail-m", "terms"),
    License("bigscience-bloom-rail-1.0", "https://huggingface.co/spaces/bigscience/license", "terms"),
    License("bigcode-openrail-m", "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement", "terms"),
)  # fmt: skip
_BY_ID = {item.name.lower(): item for item in _BOUND} | {key: License(name) for key, name in _FREE.items()}
_ALIASES = {
    "apache": "apache-2.0", "apache 2.0": "apache-2.0", "apache-2": "apache-2.0", "apache license 2.0": "apache-2.0",
    "the apache license 2.0": "apache-2.0", "mit license": "mit", "gemma terms": "gemma", "gemma terms of use": "gemma",
    "tongyi-qianwen": "qwen", "qwen-research-license": "qwen-research", "cc-by-nc": "cc-by-nc-4.0",
    "llama 3.1 community license": "llama3.1", "llama 3.2 community license": "llama3.2",
}  # fmt: skip
_NON_COMMERCIAL = re.compile(r"non-?commercial|(^|[-_ ])nc([-_ ]|$)|research[-_ ](only|license)", re.IGNORECASE)


def find_license(name: str | None) -> License | None:
    """The licence of this name in any usual spelling; ``None`` when nothing is stated.

    A licence that is not known by name counts as free of duties to accept, except where its name says that it is not
    for commercial use.
    """
    if not name or name.strip().lower() in ("", "other", "unknown", "none", "null"):
        return None
    key = " ".join(name.strip().lower().split())
    known = _BY_ID.get(_ALIASES.get(key, key))
    if known is not None:
        return known
    return License(name.strip(), terms="non-commercial" if _NON_COMMERCIAL.search(key) else None)


def require_acceptance(
    name: str | None, model: str, home: Path, *, accept: bool = False, url: str | None = None
) -> None:
    """Let a model with this licence pass, or stop until the user has accepted the licence.

    An acceptance counts for every model with the same licence. With ``accept`` it is given and kept.

    Raises:
        LicenseNotAccepted: it was neither given before nor now.
    """
    license = find_license(name)
    if license is None or not license.needs_acceptance or license.name.lower() in accepted(home):
        return
    if accept:
        record_acceptance(license, model, home)
        return
    where = url or license.url or t("the model's card")
    if license.terms == "non-commercial":
        message = t(
            "{model} is under the licence {license}, which forbids commercial use", model=model, license=license.name
        )
    else:
        message = t(
            "{model} is under the licence {license}, which binds you to its terms of use",
            model=model,
            license=license.name,
        )
    raise LicenseNotAccepted(
        message, hint=t("Read {url}, then run the command again with --accept-license.", url=where)
    )


def accepted(home: Path) -> dict[str, dict[str, str]]:
    """The licences accepted so far: name in lower case -> model that was the reason, and the time.

    Raises:
        InvalidRecipe: the file that keeps them is damaged.
    """
    path = home / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise _damaged(path, t("it is not an object of objects"))
    return document


def record_acceptance(license: License, model: str, home: Path) -> None:
    """Keep that a licence was accepted; another process may do the same at the same time."""
    from llmasos.library.locks import file_lock

    home.mkdir(parents=True, exist_ok=True)
    path = home / FILE
    with file_lock(home / "locks" / "licenses.lock", timeout=30.0, waiting_for=t("the list of accepted licences")):
        document: dict[str, Any] = accepted(home)
        document[license.name.lower()] = {
            "model": model,
            "url": license.url or "",
            "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
        temporary.replace(path)


def _damaged(path: Path, reason: object) -> InvalidRecipe:
    return InvalidRecipe(
        t("the accepted licences in {path} cannot be read: {reason}", path=path, reason=reason),
        hint=t("Remove the file; you will be asked again."),
    )
