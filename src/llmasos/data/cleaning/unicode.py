"""Unicode: repair what was decoded wrongly, choose one form, take out control characters, widths, white space."""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from typing import Literal

from pydantic import Field

from llmasos.data.cleaning.counting import counted
from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig


class RepairUnicode(TransformConfig):
    """Repair text that was decoded wrongly (mojibake such as `schÃ¶n`), ligatures and stray surrogates, with ftfy."""

    step: Literal["repair_unicode"] = "repair_unicode"
    straighten_quotes: bool = Field(False, description="Also turn curly quotation marks into straight ones.")

    def build(self) -> Transform:
        from ftfy import TextFixerConfig

        # HTML, control characters, widths, line breaks and forms have steps of their own, each with its counts.
        config = TextFixerConfig(
            unescape_html=False,
            remove_terminal_escapes=False,
            fix_latin_ligatures=True,
            fix_character_width=False,
            uncurl_quotes=self.straighten_quotes,
            fix_line_breaks=False,
            remove_control_chars=False,
            normalization=None,
            explain=False,
        )
        return partial(_repair, config=config)


def _repair(text: str, config: object) -> tuple[str, Counts]:
    import ftfy

    repaired = ftfy.fix_text(text, config)  # type: ignore[arg-type]  # its type is imported late
    return (text, NO_COUNTS) if repaired == text else (repaired, {"texts_repaired": 1})


class NormalizeUnicode(TransformConfig):
    """Bring characters that can be written in several ways into one form (Unicode Standard Annex 15)."""

    step: Literal["normalize_unicode"] = "normalize_unicode"
    form: Literal["NFC", "NFKC"] = Field(
        "NFC",
        description="NFC keeps the look; NFKC also replaces compatibility characters: ﬁ by fi, ² by 2, Ａ by A.",
    )

    def build(self) -> Transform:
        return partial(_normalize, form=self.form)


def _normalize(text: str, form: Literal["NFC", "NFKC"]) -> tuple[str, Counts]:
    if text.isascii() or unicodedata.is_normalized(form, text):
        return text, NO_COUNTS
    return unicodedata.normalize(form, text), {"texts_normalized": 1}


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]")
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]")
_TERMINAL = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\))")


class RemoveControlCharacters(TransformConfig):
    """Take out control characters, colour codes of terminals, lone surrogates and invisible characters."""

    step: Literal["remove_control_characters"] = "remove_control_characters"
    invisible: bool = Field(
        True,
        description="Also soft hyphens, zero-width spaces, byte-order marks and tags. Joiners that Indic scripts, "
        "Persian and emoji need stay.",
    )
    direction: bool = Field(
        False, description="Also marks of writing direction; Arabic and Hebrew mixed with numbers may need them."
    )

    def build(self) -> Transform:
        return partial(_remove_control, invisible=self.invisible, direction=self.direction)


def _remove_control(text: str, invisible: bool, direction: bool) -> tuple[str, Counts]:
    codes = 0
    while "\x1b" in text:  # taking one out may leave another
        text, more = _TERMINAL.subn("", text)
        if not more:
            break
        codes += more
    text, control = _CONTROL.subn("", text)
    unseen = marks = 0
    if not text.isascii():
        if invisible:
            text, unseen = _INVISIBLE.subn("", text)
        if direction:
            text, marks = _DIRECTION.subn("", text)
    return text, counted(
        terminal_codes_removed=codes,
        control_characters_removed=control,
        invisible_characters_removed=unseen,
        direction_marks_removed=marks,
    )


_LINE_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANK = " \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_BLANK}]+")
_SPACES_IN_LINE = re.compile(rf"(?<=\S)[{_BLANK}]+")
_SPACES_AT_LINE_END = re.compile(rf"(?<![{_BLANK}])[{_BLANK}]+(?=\n)")


class CleanWhitespace(TransformConfig):
    """Make line breaks uniform, shorten runs of spaces and empty lines, and trim the ends."""

    step: Literal["clean_whitespace"] = "clean_whitespace"
    spaces: Literal["keep", "within_lines", "all"] = Field(
        "within_lines",
        description="Runs of spaces and tabs that become one space. within_lines: not the indentation of lines, which "
        "code needs; all: these too; keep: none.",
    )
    empty_lines: int = Field(1, ge=0, description="Most empty lines in a row.")
    trim: bool = Field(True, description="Remove white space at both ends of the text and at the end of lines.")

    def build(self) -> Transform:
        blank = re.compile(rf"\n(?:[^\S\n]*\n){{{self.empty_lines + 1},}}")
        return partial(_clean_whitespace, config=self, blank=blank)


def _clean_whitespace(text: str, config: CleanWhitespace, blank: re.Pattern[str]) -> tuple[str, Counts]:
    cleaned = _LINE_BREAK.sub("\n", text)
    if config.spaces != "keep":
        cleaned = (_SPACES_IN_LINE if config.spaces == "within_lines" else _SPACES).sub(" ", cleaned)
    if config.trim:
        cleaned = _SPACES_AT_LINE_END.sub("", cleaned)
    cleaned = blank.sub("\n" * (config.empty_lines + 1), cleaned)
    if config.trim:
        cleaned = cleaned.rstrip()
        # The first line keeps its indentation: the lines below may be aligned with it.
        cleaned = cleaned.lstrip("\n") if config.spaces != "all" else cleaned.lstrip()
    if cleaned == text:
        return text, NO_COUNTS
    removed = len(text) - len(cleaned)
    return cleaned, counted(texts_with_whitespace_changed=1, whitespace_characters_removed=removed)


_TO_HALF = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_LETTERS_TO_HALF = {code: half for code, half in _TO_HALF.items() if chr(half).isalnum()}
_TO_FULL = {half: full for full, half in _TO_HALF.items()}
_PUNCTUATION = {ord(half): full for half, full in zip(",.!?:;()", "，。！？：；（）", strict=True)}
_BESIDE_IDEOGRAPH = re.compile(r"(?<=[\u3400-\u4dbf\u4e00-\u9fff，。！？：；（）”’》])[,.!?:;()](?![A-Za-z0-9.,!?:;])")


class ConvertWidth(TransformConfig):
    """Convert between full-width and half-width forms of letters, digits and punctuation."""

    step: Literal["convert_width"] = "convert_width"
    to: Literal["half", "half_letters", "full", "chinese_punctuation"] = Field(
        "half_letters",
        description="half_letters: letters and digits to half width (ＡＢ１ to AB1), punctuation stays; half: all of "
        "them; full: all to full width; chinese_punctuation: marks after a Chinese character to Chinese ones.",
    )

    def build(self) -> Transform:
        if self.to == "chinese_punctuation":
            return _chinese_punctuation
        table = {"half": _TO_HALF, "half_letters": _LETTERS_TO_HALF, "full": _TO_FULL}[self.to]
        pattern = re.compile("[" + "".join(re.escape(chr(code)) for code in sorted(table)) + "]")
        return partial(_convert_width, table=table, pattern=pattern)


def _convert_width(text: str, table: dict[int, int], pattern: re.Pattern[str]) -> tuple[str, Counts]:
    converted, count = pattern.subn(lambda match: chr(table[ord(match[0])]), text)
    return converted, counted(characters_converted=count)


def _chinese_punctuation(text: str) -> tuple[str, Counts]:
    converted, count = _BESIDE_IDEOGRAPH.subn(lambda match: _PUNCTUATION[ord(match[0])], text)
    return converted, counted(characters_converted=count)
