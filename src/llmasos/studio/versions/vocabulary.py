"""How the tokenizers of two versions differ."""

from __future__ import annotations

import json
from dataclasses import dataclass

from llmasos.library.store import Library
from llmasos.library.version import Version

_PATH = "tokenizer.json"
_EXAMPLES = 8


@dataclass(frozen=True)
class VocabularyDifference:
    """Pairs are the first version's value and the second's.

    Attributes:
        same: whether both files are the same byte for byte.
        sizes: numbers of tokens.
        alone: how many tokens only one has.
        examples: some of those, the first in its vocabulary.
        moved: how many tokens both have under different numbers.
    """

    same: bool
    sizes: tuple[int, int]
    alone: tuple[int, int] = (0, 0)
    examples: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    moved: int = 0


def compare_vocabularies(library: Library, first: Version, second: Version) -> VocabularyDifference | None:
    """Compare by tokens and their numbers; ``None`` if one has no ``tokenizer.json`` that lists them.

    Raises:
        IntegrityError: a file is missing or damaged.
    """
    left, right = _vocabulary(library, first), _vocabulary(library, second)
    if left is None or right is None:
        return None
    files = (first.manifest.files[_PATH], second.manifest.files[_PATH])
    if files[0].digest == files[1].digest:
        return VocabularyDifference(True, (len(left), len(right)))
    only = (_only(left, right), _only(right, left))
    return VocabularyDifference(
        False,
        (len(left), len(right)),
        (len(only[0]), len(only[1])),
        (only[0][:_EXAMPLES], only[1][:_EXAMPLES]),
        sum(right[token] != number for token, number in left.items() if token in right),
    )


def _only(vocabulary: dict[str, int], other: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted((token for token in vocabulary if token not in other), key=vocabulary.__getitem__))


def _vocabulary(library: Library, version: Version) -> dict[str, int] | None:
    """Tokens and their numbers; models keep them as a mapping (BPE, WordPiece) or as a list (Unigram)."""
    file = version.manifest.files.get(_PATH)
    if file is None:
        return None
    try:
        document = json.loads(library.blobs.read(file.digest))
        vocabulary = document["model"]["vocab"]
        if isinstance(vocabulary, dict):
            found = {str(token): int(number) for token, number in vocabulary.items()}
        else:
            found = {str(entry[0]): number for number, entry in enumerate(vocabulary)}
        return found | {str(token["content"]): int(token["id"]) for token in document.get("added_tokens", ())}
    except (ValueError, TypeError, LookupError):
        return None
