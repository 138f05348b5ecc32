"""Views: a version as a folder, for programs that read files by name.

A view is made of hard links to blobs, so it costs no space; where the file system has no links it is made of copies.
It is built aside and renamed, so a view that has its name is complete; a damaged one is repaired file by file.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.artifact_path import collision
from llmasos.library.blobs import copy_blob, make_deletable, missing, try_link, wrong_size
from llmasos.library.digest import digest_of_file, hex_of
from llmasos.library.disk import bury, full_disk_as_error, remove_tree
from llmasos.library.locks import store_lock
from llmasos.library.manifest import Descriptor, Manifest

if TYPE_CHECKING:
    from llmasos.library.store import Library


def ensure_view(library: Library, manifest: Manifest, *, verify: bool) -> Path:
    """See :meth:`Library.view`."""
    for layer in manifest.layers:
        if ".tar" in layer.media_type:
            raise Unsupported(
                t("{path} is an archive ({media_type}), not a file", path=layer.path, media_type=layer.media_type),
                hint=t("Only artefacts whose layers are plain files (media types ending in .raw) can be loaded."),
            )
    if verify:
        sizes = {layer.digest: layer.size for layer in manifest.layers}
        for problem in library.blobs.verify_all(sizes, t("check files")).values():
            raise problem
    folder = library.home / "views" / hex_of(manifest.digest)
    with store_lock(library.home), full_disk_as_error(library.home, manifest.size):
        if not folder.is_dir():
            _build(library, manifest, folder)
        copies = _repair(library, manifest, folder)
    for path, layer in copies:  # links were checked as blobs; only copies have bytes of their own
        if verify and digest_of_file(path) != layer.digest:
            with store_lock(library.home):
                _replace(library, path, layer)
    return folder


def _build(library: Library, manifest: Manifest, folder: Path) -> None:
    temporary = folder.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        for path, layer in manifest.files.items():
            target = temporary / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(library, layer, target)
            except FileExistsError as error:
                raise collision(path) from error
        temporary.rename(folder)
    finally:
        if temporary.exists():
            remove_tree(temporary)


def _link(library: Library, layer: Descriptor, target: Path) -> bool:
    """Make ``target`` a link to the layer's blob, else a copy; ``True`` if it is a link."""
    blob = library.blobs.path(layer.digest)
    try:
        linked = try_link(blob, target)
        if not linked:
            copy_blob(blob, target)
    except FileNotFoundError as error:
        raise missing(layer.digest) from error
    return linked


def _repair(library: Library, manifest: Manifest, folder: Path) -> list[tuple[Path, Descriptor]]:
    """Make the folder hold exactly the files of the manifest; returns those that are copies."""
    copies = []
    for found in [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]:
        if found.relative_to(folder).as_posix() not in manifest.files:
            make_deletable(found)
            found.unlink()
    for path, layer in manifest.files.items():
        target = folder / path
        blob = library.blobs.path(layer.digest)
        size = library.blobs.size(layer.digest)
        if size != layer.size:
            raise wrong_size(layer.digest, size, layer.size)
        if _is_file(target) and target.samefile(blob):
            continue
        temporary = _beside(target)
        if try_link(blob, temporary):
            _exchange(temporary, target)
            continue
        if not _is_file(target) or target.stat().st_size != size:
            copy_blob(blob, temporary)
            _exchange(temporary, target)
        copies.append((target, layer))
    return copies


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _beside(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".tmp-{secrets.token_hex(8)}")


def _exchange(temporary: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        remove_tree(bury(target))
    if target.exists():
        make_deletable(target)
    temporary.replace(target)


def _replace(library: Library, target: Path, layer: Descriptor) -> None:
    temporary = _beside(target)
    _link(library, layer, temporary)
    _exchange(temporary, target)
