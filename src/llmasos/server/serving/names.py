"""From the name in a request to the model that is meant."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import InvalidReference, NotFound, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.library.acquire import pulled
from llmasos.library.sources.reference import parse_source
from llmasos.modeling.adapter_folder import AdapterFolder
from llmasos.server.configuration import ServerConfiguration, UpstreamConfiguration
from llmasos.server.serving.presets import Presets, read_presets, weights_of

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.library.version import VersionRow

_REMEMBERED_SECONDS = 5.0  # a name that was moved by another process is seen after this time


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for: a model of this machine, with or without an adapter, or one of another server."""

    name: str
    key: str
    """Digest of the version, path of a folder, or name of the upstream: the same model has the same key."""
    reference: str
    """What loads it."""
    adapter: str | None = None
    """Digest of the adapter's version."""
    upstream: UpstreamConfiguration | None = None
    presets: Presets | None = None
    """What every request for it begins with."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as the lists of the APIs show it."""

    name: str
    kind: str
    """model, adapter or upstream"""
    digest: str | None
    created: float
    """Seconds since 1970."""
    size: int = 0
    row: VersionRow | None = None


class Names:
    """Everything that requests may name."""

    def __init__(self, configuration: ServerConfiguration, library: Library) -> None:
        self._configuration = configuration
        self._library = library
        self._started = time.time()
        self._remembered: dict[str, tuple[float, Target]] = {}
        self._own: dict[str, Target] = {}
        self._read: dict[str, Presets | None] = {}
        self._applied: dict[str, bool] = {}

    def add(self, target: Target) -> None:
        """Take up a model of the configuration that has been found."""
        self._own[target.name] = target

    def forget(self) -> None:
        """Look everything up anew: names have changed."""
        self._remembered.clear()

    def model(self, name: str, digest: str) -> Target:
        """A model of the library, by the digest of its version."""
        presets = self._presets(digest)
        key = digest if presets is None else weights_of(self._library, digest, presets)
        return Target(name, key, key, presets=presets)

    def find(self, name: str) -> Target:
        """The model of that name.

        Raises:
            NotFound: there is none; the hint offers near names.
            Unsupported: it is no model.
        """
        remembered = self._remembered.get(name)
        now = time.monotonic()
        if remembered is not None and now - remembered[0] < _REMEMBERED_SECONDS:
            return remembered[1]
        target = self._find(name)
        self._remembered[name] = (now, target)
        return target

    def _find(self, name: str) -> Target:
        configuration = self._configuration
        upstream = configuration.upstreams.get(name)
        if upstream is not None:
            return Target(name, f"upstream:{name}", upstream.model or name, upstream=upstream)
        own = self._own.get(name)
        if own is not None:
            return own
        alias = configuration.adapters.get(name)
        if alias is not None:
            return self._adapter(name, alias, None)
        if "+" in name:
            base, _, adapter = name.partition("+")
            return self._adapter(name, configuration.adapters.get(adapter, adapter), base)
        if not configuration.only:
            row = self._row(name)
            if row is not None:
                if row.kind == "adapter":
                    return self._adapter(name, name, None)
                if row.kind != "model":
                    raise Unsupported(
                        t("{name} is a {kind}, not a model", name=name, kind=row.kind), hint=t("Name a model.")
                    )
                return self.model(name, row.digest)
        raise self._unknown(name)

    def _row(self, name: str) -> VersionRow | None:
        try:
            source = parse_source(name)
            reference = name if source is None else pulled(source, self._library)
            if reference is None:
                return None
            digest = self._library.digest_of(reference)
        except (NotFound, InvalidReference):
            return None
        return next(iter(self._library.catalogue.rows(digest=digest)), None)

    def _presets(self, digest: str) -> Presets | None:
        if digest not in self._read:  # versions never change
            self._read[digest] = read_presets(self._library, digest)
        return self._read[digest]

    def _adapter(self, name: str, reference: str, base: str | None) -> Target:
        row = self._row(reference)
        if row is None:
            raise self._unknown(name)
        if row.kind != "adapter":
            raise Unsupported(
                t("{name} is a {kind}, not an adapter", name=reference, kind=row.kind), hint=t("Name an adapter.")
            )
        if base is not None:
            below = self.find(base)
            if below.upstream is not None or below.adapter is not None:
                raise Unsupported(
                    t("{name}: an adapter goes on a model of this machine", name=name), hint=t("Name a base model.")
                )
            return Target(
                name, below.key, below.reference, adapter=row.digest, presets=self._presets(row.digest) or below.presets
            )
        if row.base_digest is None:
            raise Unsupported(
                t("{name} does not say which version its base is", name=reference),
                hint=t("Name both: BASE+{name}.", name=reference),
            )
        presets = self._presets(row.digest)
        if not self._for_engine(
            row.digest, row.base_digest
        ):  # a model of its own: the base with the adapter on its weights
            return Target(name, row.digest, row.digest, presets=presets)
        return Target(name, row.base_digest, row.base_digest, adapter=row.digest, presets=presets)

    def _for_engine(self, digest: str, base: str) -> bool:
        """Whether the engine of the base can apply an adapter, so that requests with and without it share batches."""
        if digest not in self._applied:  # versions never change
            from llmasos.engine.adapters import refuse_adapter
            from llmasos.engine.architecture import MODEL_TYPES

            row = next(iter(self._library.catalogue.rows(digest=base)), None)
            # Without the base loading fails, with a message that says so.
            self._applied[digest] = row is None or row.architecture in MODEL_TYPES
            try:
                adapter = AdapterFolder.open(self._library.view(self._library.version(digest), verify=False))
                refuse_adapter(adapter.config, adapter.tensors)
            except Unsupported:
                self._applied[digest] = False
        return self._applied[digest]

    def _unknown(self, name: str) -> NotFound:
        names = [item.name for item in self.listing()]
        return NotFound(
            t("there is no model {name!r} here", name=name),
            hint=did_you_mean(name, names) or t("`llmasos list` shows the models; `llmasos pull` fetches one."),
        )

    def listing(self) -> list[Listed]:
        """All that can be named, the newest first; configured names before the library's."""
        configuration = self._configuration
        items = [Listed(name, "upstream", None, self._started) for name in configuration.upstreams]
        rows = {row.digest: row for row in self._library.versions()}
        for name, reference in configuration.adapters.items():
            row = self._row(reference)
            if row is not None:
                items.append(_listed(name, "adapter", row))
        for name, target in self._own.items():
            own = rows.get(target.key)
            if own is not None:
                items.append(_listed(name, "model", own))
            else:
                size = sum(file.stat().st_size for file in Path(target.reference).glob("*") if file.is_file())
                items.append(Listed(name, "model", None, self._started, size))
        if not configuration.only:
            seen = {item.name for item in items}
            items += [
                _listed(name, row.kind, row)
                for row in rows.values()
                if row.kind in ("model", "adapter")
                for name in row.names
                if name not in seen
            ]
        return items


def _listed(name: str, kind: str, row: VersionRow) -> Listed:
    return Listed(name, kind, row.digest, row.published.timestamp(), row.size, row)
