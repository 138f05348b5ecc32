"""Files that are documents: plain text, Markdown, HTML, PDF."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import yaml

from llmasos.data.sources.compression import open_plain
from llmasos.data.sources.plan import FilePlan, Piece, Reading
from llmasos.data.sources.readers.lines import decoded_lines
from llmasos.data.sources.record import Broken, Item, Items, Record


def read_text(file: FilePlan, piece: Piece, reading: Reading) -> Items:
    """The documents of a text file: the whole, its paragraphs (parted by empty lines) or its lines."""
    gathered: list[str] = []
    first = 1
    for number, line in decoded_lines(Path(file.path), piece, file.encoding or "utf-8"):
        if isinstance(line, Broken):
            yield line
        elif reading.document == "line":
            if line.strip():
                yield Record(number, {"text": line})
        elif reading.document == "paragraph" and not line.strip():
            if gathered:
                yield Record(first, {"text": "\n".join(gathered)})
            gathered = []
        else:
            if not gathered:
                first = number
            gathered.append(line)
    if gathered:
        yield Record(first, {"text": "\n".join(gathered)})


def read_aligned(file: FilePlan) -> Items:
    """Line N of the file beside line N of the file that it is aligned with, whose number of lines is the same."""
    assert file.second is not None
    whole = Piece(size=file.size)
    firsts = decoded_lines(Path(file.path), whole, file.encoding or "utf-8")
    seconds = decoded_lines(Path(file.second), whole, file.second_encoding or "utf-8")
    for (number, first), (_, second) in zip(firsts, seconds, strict=True):
        if isinstance(first, Broken):
            yield first
        elif isinstance(second, Broken):
            yield second
        else:
            yield Record(number, {"source": first, "target": second})


def read_markdown(file: FilePlan) -> Items:
    """The document, with a YAML head as columns beside it."""
    items = list(read_text(file, Piece(size=file.size), Reading()))
    yield from (item for item in items if isinstance(item, Broken))
    text = next((str(item.fields["text"]) for item in items if isinstance(item, Record)), None)
    if text is None:
        yield Broken(1, "no_text", "the file is empty", "")
        return
    head: dict[str, Any] = {}
    if text.startswith("---\n"):
        front, fence, rest = text[4:].partition("\n---\n")
        try:
            parsed = yaml.safe_load(front) if fence else None
        except yaml.YAMLError:
            parsed = None  # a document that begins with a rule, not with a head
        if isinstance(parsed, dict):
            head = json.loads(json.dumps({str(key): value for key, value in parsed.items()}, default=str))
            text = rest.lstrip("\n")
    yield Record(1, {**head, "text": text})


def read_html(file: FilePlan) -> Items:
    """The main text of a web page without navigation and advertisements, and its title, author and date."""
    import trafilatura

    with open_plain(Path(file.path)) as source:
        raw = source.read()
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    found = trafilatura.extract(raw, output_format="json", with_metadata=True, include_comments=False)
    values = json.loads(found) if found else {}
    if not values.get("text"):
        yield Broken(1, "no_main_text", "no main text found in the page", raw.decode("utf-8", "replace"))
        return
    kept = {name: values[name] for name in ("title", "author", "date", "language") if values.get(name)}
    yield Record(1, {**kept, "text": values["text"]})


def read_pdf(file: FilePlan) -> Items:
    """The text of a PDF, pages parted by an empty line.

    Scanned pages have none; they are counted in the column ``pages_without_text``.
    """
    yield _pdf(file)


def _pdf(file: FilePlan) -> Item:
    import pypdf
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        with open_plain(Path(file.path)) as source:
            reader = pypdf.PdfReader(source)
            if reader.is_encrypted and not reader.decrypt(""):
                return Broken(1, "encrypted_pdf", "the file needs a password", "")
            pages = [page.extract_text().strip() for page in reader.pages]
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        # What a damaged file raises in pypdf is not limited to its own errors.
        return Broken(1, "broken_pdf", f"{type(error).__name__}: {error}", "")
    text = "\n\n".join(page for page in pages if page)
    if not text:
        return Broken(1, "no_text", f"{len(pages)} pages without text; scanned pages need character recognition", "")
    return Record(1, {"text": text, "pages": len(pages), "pages_without_text": sum(not page for page in pages)})
