"""References: the names under which versions live in the library.

    name                    smollm2                       (tag: latest)
    name:tag                smollm2:135m-instruct
    namespace/name:tag      mine/sst2:v3
    ...@sha256:<hex>        smollm2@sha256:9f2c...        (exactly this version)

The grammar is the one of OCI repositories and tags, so every reference is also valid in a registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from llmasos.errors import InvalidReference
from llmasos.i18n import t
from llmasos.library.digest import is_digest

DEFAULT_TAG = "latest"
MAX_COMPONENT = 128
# Words that begin a source reference (`hf:org/repo`) or a digest: as names they would be read as something else.
RESERVED = frozenset({"pypi", "hf", "oci", "file", "http", "https", "sha256"})

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Reference:
    """A name in the library. ``tag`` is ``None`` only where ``digest`` alone says which version is meant."""

    name: str
    namespace: str | None = None
    tag: str | None = DEFAULT_TAG
    digest: str | None = None

    def __post_init__(self) -> None:
        _check_component(self.name, self)
        if self.namespace is not None:
            _check_component(self.namespace, self)
        if self.tag is not None and _TAG.fullmatch(self.tag) is None:
            raise InvalidReference(
                t("{value!r} is not a tag, in {text!r}", value=self.tag, text=str(self)),
                hint=t("A tag has 1 to 128 letters, digits, '.', '_' or '-' and does not begin with '.' or '-'."),
            )
        if self.digest is not None and not is_digest(self.digest):
            raise InvalidReference(
                t("{value!r} is not a digest, in {text!r}", value=self.digest, text=str(self)),
                hint=t("A digest is 'sha256:' and 64 hexadecimal digits in lower case."),
            )
        if self.tag is None and self.digest is None:
            raise InvalidReference(
                t("{text!r} has neither a tag nor a digest", text=str(self)),
                hint=t("Write name:tag or name@sha256:... ."),
            )

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``name[:tag]`` or ``namespace/name[:tag]``, each with an optional ``@sha256:<hex>``.

        Without a tag and without a digest the tag is ``latest``.

        Raises:
            InvalidReference: the text is not of this form.
        """
        if not text.strip():
            raise InvalidReference(
                t("an empty reference"), hint=t("Write name:tag, for example smollm2:135m-instruct.")
            )
        rest, at, digest = text.partition("@")
        repository, colon, tag = rest.partition(":")
        namespace, slash, name = repository.partition("/")
        if not slash:
            namespace, name = "", repository
        if "/" in name:
            raise InvalidReference(
                t("{text!r} has more than one '/'", text=text),
                hint=t("A library name is namespace/name:tag. For a registry write oci:host/repository:tag."),
            )
        if not slash and name in RESERVED:
            raise InvalidReference(
                t("{text!r} is a source or a digest, not a name in the library", text=text),
                hint=t("Pull a source first (`llmasos pull {text}`), then use the name it was given.", text=text),
            )
        return cls(
            name=name,
            namespace=namespace if slash else None,
            tag=tag if colon else (None if at else DEFAULT_TAG),
            digest=digest if at else None,
        )

    @property
    def repository(self) -> str:
        """``namespace/name`` or ``name``: the reference without tag and digest."""
        return f"{self.namespace}/{self.name}" if self.namespace is not None else self.name

    def with_tag(self, tag: str) -> Reference:
        """The same name with another tag and no digest."""
        return replace(self, tag=tag, digest=None)

    def without_digest(self) -> Reference:
        """The same name and tag, ``latest`` if there was none, without the digest."""
        return replace(self, tag=self.tag or DEFAULT_TAG, digest=None)

    def __str__(self) -> str:
        text = self.repository
        if self.tag is not None:
            text += f":{self.tag}"
        if self.digest is not None:
            text += f"@{self.digest}"
        return text


def _check_component(value: str, reference: Reference) -> None:
    text = str(reference)
    if len(value) > MAX_COMPONENT:
        raise InvalidReference(
            t(
                "a name of {length} characters, in {text!r}; at most {limit} are allowed",
                length=len(value),
                text=text[:60] + "...",
                limit=MAX_COMPONENT,
            ),
            hint=t("Choose a shorter name."),
        )
    if _COMPONENT.fullmatch(value) is not None:
        return
    if value != value.lower() and _COMPONENT.fullmatch(value.lower()) is not None:
        raise InvalidReference(
            t("{value!r} has capital letters, in {text!r}", value=value, text=text),
            hint=t(
                "Names in the library are in lower case: {lower}. For a Hugging Face repository write hf:{repository}.",
                lower=str_lower(reference),
                repository=reference.repository,
            ),
        )
    raise InvalidReference(
        t("{value!r} is not a name, in {text!r}", value=value, text=text),
        hint=t("A name has lower-case letters and digits, joined by '.', '_', '__' or '-'."),
    )


def str_lower(reference: Reference) -> str:
    """The reference with its names in lower case; tags keep their case."""
    tag = f":{reference.tag}" if reference.tag is not None else ""
    return f"{reference.repository.lower()}{tag}"
