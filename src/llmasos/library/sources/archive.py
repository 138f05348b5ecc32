"""Taking files out of zip archives (wheels are zip archives) that nobody has checked before us.

Nothing in an archive is run. Refused are names that leave the folder, links and device nodes, encrypted members and
members that unpack to far more than they should (zip bombs).
"""

from __future__ import annotations

import errno
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from llmasos.errors import IntegrityError, InvalidReference, LLMasOSError, NotFound, UnsafeContent, did_you_mean
from llmasos.i18n import t
from llmasos.library.artifact_path import check_paths
from llmasos.library.disk import full_disk_as_error, require_space
from llmasos.settings import get_settings

CHUNK = 1 << 20
MAXIMUM_MEMBERS = 100_000
# Deflate reaches 1032:1 at most; weights and tokenizers stay far below 100:1.
MAXIMUM_RATIO = 200
FREE_SIZE = 1 << 20  # members below this are harmless whatever their ratio

_SUPPORTED = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive after a check of all its members.

    Raises:
        IntegrityError: it is not a zip archive, or is damaged or truncated.
        UnsafeContent: a member is not safe to unpack.
    """
    with ExitStack() as stack:
        with _damage_as_error(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
        check_members(path.name, archive.infolist(), path.stat().st_size)
        yield archive


def check_members(archive: str, members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive of ``size`` bytes with any member that only a hostile archive has, wanted or not.

    Raises:
        UnsafeContent: names the archive, the member and what is wrong with it.
    """
    if len(members) > MAXIMUM_MEMBERS:
        raise _unsafe(
            archive,
            "",
            t("it has {count} members, at most {limit} are allowed", count=len(members), limit=MAXIMUM_MEMBERS),
        )
    if sum(member.compress_size for member in members) > size:
        raise _unsafe(archive, "", t("its members overlap"))
    for member in members:
        name, mode = member.orig_filename, member.external_attr >> 16
        if "\0" in name:
            raise _unsafe(archive, name, t("its name holds a NUL character"))
        if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise _unsafe(archive, name, t("it would be written outside the folder"))
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive, name, t("it is a link or a device, not a file"))
        if member.file_size > FREE_SIZE and member.file_size > MAXIMUM_RATIO * max(1, member.compress_size):
            raise _unsafe(
                archive,
                name,
                t(
                    "{compressed} bytes unpack to {size}, a ratio above {limit}",
                    compressed=member.compress_size,
                    size=member.file_size,
                    limit=MAXIMUM_RATIO,
                ),
            )


def select(archive: str, members: Sequence[zipfile.ZipInfo], wanted: str) -> dict[str, zipfile.ZipInfo]:
    """The files that ``wanted`` names, by their path below it: one file, a folder, or a glob.

    Raises:
        NotFound: it names nothing; with suggestions.
    """
    files = {member.filename: member for member in members if not member.is_dir()}
    if wanted in files:
        return {wanted.rpartition("/")[2]: files[wanted]}
    inside = {name[len(wanted) + 1 :]: member for name, member in files.items() if name.startswith(f"{wanted}/")}
    if inside:
        return inside
    if "*" in wanted:
        matches = glob_matcher(wanted)
        found = {name.rpartition("/")[2]: member for name, member in sorted(files.items()) if matches(name)}
        if len(found) < sum(map(matches, files)):
            raise InvalidReference(
                t("{wanted} finds several files of the same name in {archive}", wanted=wanted, archive=archive)
            )
        if found:
            return found
    largest = sorted(files.values(), key=lambda member: -member.file_size)[:5]
    raise NotFound(
        t(
            "{archive} holds no {wanted}; its largest files: {files}",
            archive=archive,
            wanted=wanted,
            files=", ".join(member.filename for member in largest),
        ),
        hint=did_you_mean(wanted, files),
    )


def glob_matcher(pattern: str) -> Callable[[str], bool]:
    """A test of paths against a glob: ``*`` is any text inside one part of a path, ``**/`` any number of folders."""
    pieces = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*"}
    expression = "".join(pieces.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*/|\*\*|\*)", pattern))
    compiled = re.compile(expression)
    return lambda path: compiled.fullmatch(path) is not None


def extract(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], destination: Path, report: Callable[[int], None]
) -> list[Path]:
    """Write the members to ``destination`` under their keys; ``report`` is told of every chunk of bytes.

    Raises:
        IntegrityError: a member is damaged or longer than it says.
        OutOfDisk: they do not fit.
    """
    check_paths(members)
    for member in members.values():
        if member.flag_bits & 0x1 or member.compress_type not in _SUPPORTED:
            raise _unsafe(archive.filename or "", member.filename, t("it is encrypted or packed in an unknown way"))
    require_space(
        destination, sum(member.file_size for member in members.values()), reserve=get_settings().disk_reserve
    )
    written = []
    for path, member in members.items():
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with full_disk_as_error(destination, member.file_size), target.open("wb") as file:
            copy_member(archive, member, file, report)
        written.append(target)
    return written


def copy_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: BinaryIO, report: Callable[[int], None]
) -> None:
    """Append a member's bytes to ``target``; zipfile checks its CRC at the end.

    Raises:
        IntegrityError: it is damaged.
    """
    with _damage_as_error(Path(archive.filename or member.filename)), archive.open(member) as source:
        while block := source.read(CHUNK):
            target.write(block)
            report(len(block))


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """All that zipfile raises when the bytes are not those of an archive; keep only its own calls in the block."""
    try:
        yield
    except LLMasOSError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to a place that a damaged directory names
            raise
        raise _damaged(path, error) from error
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, RuntimeError
    ) as error:  # fmt: skip
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: Exception) -> IntegrityError:
    return IntegrityError(
        t("{path} is damaged or not a zip archive: {error}", path=path.name, error=reason),
        hint=t("Download it again."),
    )


def _unsafe(archive: str, member: str, reason: str) -> UnsafeContent:
    return UnsafeContent(
        t("{archive}: {member!r} is refused: {reason}", archive=archive, member=member[:200], reason=reason),
        hint=t("This archive was not made by an honest tool; do not use it."),
    )
