"""Language codes of multilingual translation models: M2M100, NLLB, mBART and Marian's groups of languages.

These models read the source language from a token beside the text and write the target language after a token that
is forced as the first of the output; Marian reads the target from a mark ``>>fra<<`` before the text.
"""

from __future__ import annotations

import re
from functools import cached_property

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t
from llmasos.modeling.tokenizer import Encoded, Tokenizer

_CODE_TOKEN = re.compile(r"__([a-z]{2,3})__|([a-z]{2}_[A-Z]{2})|([a-z]{3}_[A-Z][a-z]{3})|>>([A-Za-z_]+)<<")


class Languages:
    """The languages that a model's vocabulary has tokens for."""

    def __init__(self, model_type: str, tokenizer: Tokenizer) -> None:
        self._marian = model_type == "marian"
        self._target_needed = model_type == "m2m_100"  # translates into anything, and has no default
        self._tokenizer = tokenizer

    @cached_property
    def _tokens(self) -> dict[str, str]:
        """Token of each language code."""
        found: dict[str, str] = {}
        for token in self._tokenizer.language_tokens():
            match = _CODE_TOKEN.fullmatch(token)
            if match:
                found[next(filter(None, match.groups()))] = token
        return found

    @property
    def codes(self) -> list[str]:
        """Codes that may be asked for; empty for a model of one pair of languages."""
        return sorted(self._tokens)

    @property
    def marks_source(self) -> bool:
        """Whether a token beside the text says its language; Marian reads one language only."""
        return not self._marian

    def mark_text(self, text: str, target: str | None) -> str:
        """The text as the model wants it: Marian's mark of the target language before it.

        Raises:
            InvalidRequest: the model needs a target language and none is given, or it has no such language.
        """
        if target is None and self._target_needed:
            raise InvalidRequest(
                t("this model translates into many languages: name one with target_language"),
                hint=t("Its languages: {names}.", names=", ".join(self.codes[:20])),
            )
        return f"{self._token('target_language', target)} {text}" if target is not None and self._marian else text

    def mark_source(self, encoded: Encoded, source: str | None) -> Encoded:
        """The input with the token of the source language in the place where the tokenizer put its default."""
        if source is None:
            return encoded
        wanted = self._id("source_language", source)
        if self._marian:
            raise InvalidRequest(
                t("this model reads one language only, so source_language has no meaning"), hint=t("Leave it out.")
            )
        known = {self._tokenizer.token_id(token) for token in self._tokens.values()}
        ids = [
            wanted if special and token in known else token
            for token, special in zip(encoded.ids, encoded.special, strict=True)
        ]
        return Encoded(ids, encoded.type_ids, encoded.special, encoded.offsets, encoded.truncated)

    def first_token(self, target: str | None) -> dict[str, int]:
        """Settings of the generation that make the output begin with the target language's token."""
        if target is None or self._marian:
            return {}
        return {"forced_bos_token_id": self._id("target_language", target)}

    def _id(self, option: str, code: str) -> int:
        token = self._token(option, code)
        number = self._tokenizer.token_id(token)
        assert number is not None, token
        return number

    def _token(self, option: str, code: str | None) -> str:
        token = self._tokens.get(code or "")
        if token is not None:
            return token
        if not self._tokens:
            raise InvalidRequest(
                t("this model translates between one pair of languages, so {option} has no meaning", option=option),
                hint=t("Leave it out."),
            )
        raise InvalidRequest(
            t("{option} = {value}: the model has no such language", option=option, value=repr(code)),
            hint=did_you_mean(code or "", self._tokens) or t("Its languages: {names}.", names=", ".join(self.codes)),
        )
