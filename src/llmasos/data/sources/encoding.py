"""Which encoding a text file has. A guess is always reported, with how many lines do not fit it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 64 * 1024
_MOSTLY = 0.9
"""Share of the lines beyond ASCII that must be UTF-8 for a file to count as UTF-8 with some broken lines."""


@dataclass(frozen=True)
class Encoding:
    """An encoding as Python names it.

    Attributes:
        certain: marked, or every byte fits; otherwise it was guessed from how characters are distributed.
        broken_lines: lines that cannot be decoded with it.
    """

    name: str
    certain: bool = True
    broken_lines: int = 0

    @property
    def line_based(self) -> bool:
        """Whether a line feed is the byte 10 and nothing else, so that lines can be cut before decoding."""
        return not self.name.startswith(("utf-16", "utf-32", "utf_16", "utf_32"))


def marked_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes of a file declare by a byte order mark."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


class EncodingObserver:
    """Looks at a file's lines once and says which encoding they are in."""

    def __init__(self) -> None:
        self._beyond_ascii = 0
        self._broken = 0
        self._sample: list[bytes] = []
        self._sampled = 0

    def see(self, lines: Iterable[bytes]) -> None:
        """Take lines, each decodable by itself if the file is UTF-8."""
        for line in lines:
            if line.isascii():
                continue
            self._beyond_ascii += 1
            try:
                line.decode("utf-8")
                broken = False
            except UnicodeDecodeError:
                self._broken += 1
                broken = True
            if (broken or self._beyond_ascii < 100) and self._sampled < _SAMPLE_BYTES:
                piece = line[: _SAMPLE_BYTES - self._sampled]
                self._sample.append(piece)
                self._sampled += len(piece)

    def conclude(self) -> Encoding:
        """The encoding of what was seen."""
        if not self._broken:
            return Encoding("utf-8")
        if 1 - self._broken / self._beyond_ascii >= _MOSTLY:
            return Encoding("utf-8", broken_lines=self._broken)
        return _guess(b"\n".join(self._sample))


def _guess(sample: bytes) -> Encoding:
    """The likeliest legacy encoding of some lines.

    Chinese encodings are tried first because their structure is telling: text in another encoding is hardly ever valid
    GB18030 made of common characters, whereas every byte is valid in a one-byte code page.
    """
    from charset_normalizer import from_bytes

    for name in ("gb18030", "big5hkscs"):
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        wide = [character for character in text if ord(character) > 127]
        common = sum("\u4e00" <= character <= "\u9fff" or "\u3000" <= character <= "\u303f" or "\uff00" <= character
                     <= "\uffef" for character in wide)  # fmt: skip
        plausible = sum(character in _COMMON_CHINESE for character in wide)
        if wide and common / len(wide) > 0.9 and plausible / len(wide) > 0.08:
            return Encoding(name, certain=False)
    if _looks_western(sample):
        return Encoding("cp1252", certain=False)
    best = from_bytes(sample).best()
    return Encoding(best.encoding if best is not None else "cp1252", certain=False)


def _looks_western(sample: bytes) -> bool:
    """Whether the characters beyond ASCII are those of western Europe, and stand among ASCII letters as they do there.

    Bytes of Cyrillic or Greek give western letters too, but whole words of them.
    """
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    places = [index for index, character in enumerate(text) if not character.isascii()]
    letters = [index for index in places if text[index] in _WESTERN]
    single = [index for index in letters if _is_ascii_around(text, index)]
    return len(letters) >= 0.95 * len(places) and len(single) >= 0.6 * len(letters)


def _is_ascii_around(text: str, index: int) -> bool:
    return text[index - 1 : index].isascii() and text[index + 1 : index + 2].isascii()


_WESTERN = frozenset("äöüÄÖÜßéèêëàâçîïôûùñáíóúåæøÅÆØÉÈÀÇÑìòãõ’‘“”„–—…€«»°§·¿¡º ")
_COMMON_CHINESE = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "，。、？！：；（）的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡"
)
