"""Which packages are installed, against what each extra asks for."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

from llmasos.cli.checks import Problem, Section
from llmasos.i18n import t

#: Extras that a user installs, and what they are for. ``dev`` and ``docs`` are for those who work on LLMasOS.
EXTRAS = ("", "local", "data", "postgresql")


def check(*, uses_postgresql: bool) -> Section:
    """Versions of LLMasOS, Python and every package that an extra needs."""
    section = Section("packages", t("Installed"))
    section.facts.append(("llmasos", f"{metadata.version('llmasos')} (Python {platform.python_version()})"))
    section.data = {
        "llmasos": metadata.version("llmasos"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "extras": {},
    }
    purposes = {
        "": t("library and commands"),
        "local": t("running models on this machine"),
        "data": t("preparing data"),
        "postgresql": t("catalogue in PostgreSQL"),
    }
    for extra in EXTRAS:
        found, missing = requirement_states(extra)
        name = extra or "core"
        section.data["extras"][name] = {"installed": found, "missing": missing}
        shown = ", ".join(f"{package} {version}" for package, version in found.items())
        if not missing:
            section.facts.append((name, f"{shown}  ({purposes[extra]})"))
            continue
        lacking = ", ".join(f"{package} ({why})" for package, why in missing.items())
        section.facts.append((name, t("incomplete: {packages}", packages=lacking) + f"  ({purposes[extra]})"))
        if extra == "postgresql" and not uses_postgresql:
            continue
        target = f"llmasos[{extra}]" if extra else "llmasos"
        section.problems.append(
            Problem(
                "advice" if extra in ("local", "data") else "error",
                t("for {purpose}, packages are missing: {packages}", purpose=purposes[extra], packages=lacking),
                f'pip install "{target}"',
            )
        )
    return section


def requirement_states(extra: str) -> tuple[dict[str, str], dict[str, str]]:
    """Packages that ``extra`` needs: those installed with their versions, and those that are not, with the reason."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for text in metadata.requires("llmasos") or []:
        requirement = Requirement(text)
        if requirement.name == "llmasos" or not _belongs(requirement.marker, extra):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing[requirement.name] = t("not installed")
            continue
        if requirement.specifier.contains(Version(version), prereleases=True):
            found[requirement.name] = version
        else:
            missing[requirement.name] = t("{version} is installed, {wanted} is needed", version=version,
                                          wanted=requirement.specifier)  # fmt: skip
    return found, missing


def _belongs(marker: Marker | None, extra: str) -> bool:
    """Whether a requirement is one of ``extra`` itself, not also of the bare install."""
    if marker is None:
        return extra == ""
    bare = marker.evaluate({"extra": ""})
    return bare if extra == "" else marker.evaluate({"extra": extra}) and not bare
