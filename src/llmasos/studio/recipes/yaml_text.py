"""Changes of values inside a YAML text that leave everything else as its author wrote it, comments included."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from llmasos.errors import InvalidRecipe
from llmasos.recipe.document import Path, parse

_SHORT = 72
"""Characters up to which a mapping or list is written in one line."""
_FAR = 1_000_000


class Null:
    """The value ``null``, where ``None`` means that a key is taken away."""


NULL = Null()


def values_of(text: str) -> dict[str, Any]:
    """The mapping in a text; an empty text, or one of comments alone, is an empty mapping.

    Raises:
        InvalidRecipe: as :func:`llmasos.recipe.document.parse`.
    """
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        return {}
    return parse(text, "YAML").values


def dump(values: Any) -> str:
    """Values as YAML, in their order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=_FAR)


def assigned(values: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The values with one changed. ``None`` takes the key away, and mappings and lists that nothing is left in."""
    changed = copy.deepcopy(values)
    if value is None:
        _take_away(changed, path)
        return changed
    container: Any = changed
    for place, part in enumerate(path[:-1]):
        following: Any = [] if isinstance(path[place + 1], int) else {}
        present = container[part] if _holds(container, part) else None
        if not isinstance(present, dict | list):
            present = following
            _set(container, part, present)
        container = present
    _set(container, path[-1], None if isinstance(value, Null) else copy.deepcopy(value))
    return changed


def _holds(container: Any, part: str | int) -> bool:
    if isinstance(container, dict):
        return part in container
    return isinstance(container, list) and isinstance(part, int) and part < len(container)


def _set(container: Any, part: str | int, value: Any) -> None:
    if isinstance(container, list):
        if not isinstance(part, int) or part > len(container):
            raise KeyError(part)
        if part == len(container):
            container.append(value)
            return
    container[part] = value


def _take_away(values: dict[str, Any], path: Path) -> None:
    path = _without(values, path)
    container: Any = values
    for part in path[:-1]:
        if not _holds(container, part):
            return
        container = container[part]
    if _holds(container, path[-1]):
        del container[path[-1]]


def _without(values: Any, path: Path) -> Path:
    """The path to take away so that no empty mapping or list stays behind in a mapping."""
    containers = [values]
    for part in path[:-1]:
        if not _holds(containers[-1], part):
            return path
        containers.append(containers[-1][part])
    if not _holds(containers[-1], path[-1]):
        return path
    while len(path) > 1 and len(containers[-1]) == 1 and isinstance(containers[-2], dict):
        path = path[:-1]
        containers.pop()
    return path


def change(text: str, path: Path, value: Any) -> str:
    """The text with one value changed, or taken away with ``None``; its place, order and comments stay.

    Whatever way of writing YAML the edit does not know is written anew, in which case comments are lost but no value.

    Raises:
        InvalidRecipe: the text is no mapping.
        KeyError: the path leads beyond the end of a list.
    """
    values = values_of(text)
    wanted = assigned(values, path, value)
    if repr(wanted) == repr(values):  # 1, 1.0 and true are equal in Python
        return text
    edited = _edited(text, values, path, value)
    if edited is not None:
        try:
            if repr(values_of(edited)) == repr(wanted):
                return edited
        except InvalidRecipe:
            pass
    return _opening(text) + (dump(wanted) if wanted else "")


def _opening(text: str) -> str:
    """The comments at the beginning."""
    kept = []
    for line in text.splitlines(keepends=True):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        kept.append(line)
    return "".join(kept)


def _edited(text: str, values: dict[str, Any], path: Path, value: Any) -> str | None:
    if text and not text.endswith("\n"):
        text += "\n"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return None if value is None else text + dump(assigned({}, path, value))
    if value is None:
        path = _without(values, path)
    chain, reached = [root], 0
    for part in path:
        child = _child(chain[-1], part)
        if child is None:
            break
        chain.append(child)
        reached += 1
    if value is None:
        return _removed(text, chain[-2], path[-1]) if reached == len(path) else text
    rest = path[reached:]
    plain = None if isinstance(value, Null) else value
    if not rest:
        return _replaced(text, chain, path, plain)
    if isinstance(chain[-1], yaml.ScalarNode):
        return _replaced(text, chain, path[:reached], _nested(rest, plain))
    return _inserted(text, chain[-1], rest[0], _nested(rest[1:], plain))


def _nested(path: Path, value: Any) -> Any:
    for part in reversed(path):
        value = [value] if isinstance(part, int) else {part: value}
    return value


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        found: yaml.Node = node.value[part]
        return found
    return None


def _end(text: str, node: yaml.Node) -> int:
    """Where the content of a node ends; PyYAML counts what follows a block as a part of it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        while text[end - 1] == "\n":
            end -= 1
    return end


def _line_end(text: str, index: int) -> int:
    found = text.find("\n", index)
    return len(text) if found < 0 else found


def _inline(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=_FAR).removesuffix("...\n").strip()


def _after_key(value: Any, column: int) -> str:
    """What stands after ``key:``, for a key at a column."""
    inline = _inline(value)
    if not isinstance(value, dict | list) or not value or len(inline) <= _SHORT - column:
        return f" {inline}"
    return "\n" + _indented(dump(value), column + 2)


def _indented(block: str, column: int) -> str:
    return "\n".join(" " * column + line if line else line for line in block.rstrip("\n").split("\n"))


def _replaced(text: str, chain: Sequence[yaml.Node], path: Path, value: Any) -> str | None:
    node = chain[-1]
    start, end = node.start_mark.index, _end(text, node)
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if len(chain) < 2:
        return None
    parent = chain[-2]
    in_block = not parent.flow_style if isinstance(parent, yaml.CollectionNode) else False
    if isinstance(parent, yaml.MappingNode):
        key = next(key for key, child in parent.value if key.value == path[-1] and child is node)
        after = text.index(":", key.end_mark.index) + 1
        if not in_block:
            return text[:after] + f" {_inline(value)}" + text[end:]
        column = key.start_mark.column
        written = _after_key(value, column)
        if not block and not written.startswith("\n"):
            return text[:after] + written + text[end:]
        first = _line_end(text, after)
        if not block:
            comment = text[end : _line_end(text, end)].rstrip()
            kept = f" {comment.strip()}" if comment.strip() else ""
            return text[:after] + kept + written + text[_line_end(text, end) :]
        kept = text[after:first]  # a comment after the key, before the block
        if written.startswith("\n"):
            return text[:first] + written + text[end:]
        return text[:after] + written + (f" {kept.strip()}" if kept.strip() else "") + text[end:]
    if block:
        if start >= end:
            return None
        return text[:start] + _inline(value) + text[end:]
    return text[:start] + _inline(value) + text[end:]


def _inserted(text: str, node: yaml.Node, part: str | int, value: Any) -> str | None:
    assert isinstance(node, yaml.CollectionNode)
    is_list = isinstance(node, yaml.SequenceNode)
    if is_list != isinstance(part, int) or (is_list and part != len(node.value)):
        return None
    if node.flow_style or not node.value:
        item = _inline(value) if is_list else _inline({part: value})[1:-1]
        if not node.value:
            open_at = text.index("[" if is_list else "{", node.start_mark.index) + 1
            return text[:open_at] + item + text[node.end_mark.index - 1 :]
        last = node.value[-1]
        end = _end(text, last[1] if isinstance(last, tuple) else last)
        return f"{text[:end]}, {item}{text[end:]}"
    column = node.start_mark.column
    at = _line_end(text, _end(text, node))
    if is_list:
        item = dump(value) if isinstance(value, dict) and value else _inline(value)
        return f"{text[:at]}\n{' ' * column}- {_indented(item, column + 2).lstrip()}{text[at:]}"
    return f"{text[:at]}\n{' ' * column}{_inline(part)}:{_after_key(value, column)}{text[at:]}"


def _removed(text: str, parent: yaml.Node, part: str | int) -> str | None:
    assert isinstance(parent, yaml.CollectionNode)
    pairs = [item if isinstance(item, tuple) else (item, item) for item in parent.value]
    place = part if isinstance(part, int) else next(n for n, (key, _) in enumerate(pairs) if key.value == part)
    key, value = pairs[place]
    start, end = key.start_mark.index, _end(text, value)
    following = pairs[place + 1][0] if place + 1 < len(pairs) else None
    if parent.flow_style:
        if following is not None:
            return text[:start] + text[following.start_mark.index :]
        if place:
            start = _end(text, pairs[place - 1][1])
        return text[:start] + text[end:]
    line = text.rfind("\n", 0, start) + 1
    before = text[line:start].strip()
    if before == ("-" if isinstance(parent, yaml.SequenceNode) else ""):
        return text[:line] + text[min(_line_end(text, end) + 1, len(text)) :]
    if following is not None and isinstance(parent, yaml.MappingNode):  # the first key of an entry: `- key: value`
        return text[:start] + text[following.start_mark.index :]
    return None
