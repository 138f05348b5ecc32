"""Add, tag, remove, collect and verify in any order: the library agrees with a dictionary at every moment."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmasos.errors import NotFound
from llmasos.library.digest import digest_of
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library

NAMES = st.sampled_from(["a:latest", "a:v2", "n/b:latest"])
FILES = st.dictionaries(
    st.sampled_from(["config.json", "model.safetensors", "sub/vocab.txt"]),
    st.binary(max_size=2),
    min_size=1,
)


class LibraryMachine(RuleBasedStateMachine):
    """``names`` and ``versions`` are what the library should hold."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.library = Library(Path(self.folder.name) / "home")
        self.names: dict[str, str] = {}
        self.versions: dict[str, dict[str, bytes]] = {}

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.library.close()
            self.folder.cleanup()

    @rule(name=st.none() | NAMES, files=FILES)
    def add(self, name: str | None, files: dict[str, bytes]) -> None:
        with self.library.draft() as draft:
            for path, data in files.items():
                draft.add_bytes(path, data)
            version = draft.publish(Reference.parse(name) if name else None, Metadata(), card="card")
        self.versions[version.digest] = files
        if name:
            self.names[name] = version.digest

    @rule(files=FILES)
    def begin_and_give_up(self, files: dict[str, bytes]) -> None:
        with self.library.draft() as draft:
            for path, data in files.items():
                draft.add_bytes(path, data)

    @rule(source=NAMES, new=NAMES)
    def tag(self, source: str, new: str) -> None:
        try:
            self.library.tag(source, new)
        except NotFound:
            assert source not in self.names
        else:
            self.names[new] = self.names[source]

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        try:
            removal = self.library.remove(name)
        except NotFound:
            assert name not in self.names
            return
        digest = self.names.pop(name)
        assert removal.names == (name,)
        if digest in self.names.values():
            assert removal.versions == ()
        else:
            assert removal.versions == (digest,)
            del self.versions[digest]

    @rule(name=NAMES)
    def view(self, name: str) -> None:
        if name in self.names:
            folder = self.library.view(self.library.resolve(name))
            files = self.versions[self.names[name]]
            assert {path: (folder / path).read_bytes() for path in files} == files

    @rule(dry_run=st.booleans())
    def collect(self, dry_run: bool) -> None:
        report = self.library.gc(dry_run=dry_run)
        nameless = set(self.versions) - set(self.names.values())
        assert set(report.versions) == nameless
        if not dry_run:
            for digest in nameless:
                del self.versions[digest]
            needed = set(self.versions)
            for digest in self.versions:
                needed |= {blob.digest for blob in self.library.version(digest).manifest.blobs}
            assert set(self.library.blobs.digests()) == needed

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "library"):
            return
        rows = self.library.versions()
        assert {row.digest for row in rows} == set(self.versions)
        assert {name: row.digest for row in rows for name in row.names} == self.names
        assert self.library.names() == sorted(self.names)
        for digest, files in self.versions.items():
            found = self.library.version(digest).manifest.files
            assert {path: found[path].digest for path in files} == {
                path: digest_of(data) for path, data in files.items()
            }
        assert self.library.verify().problems == []


LibraryMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLibraryInAnyOrder = LibraryMachine.TestCase
