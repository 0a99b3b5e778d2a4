"""kubectl's `-o jsonpath=`: a text with paths in braces, as `valueFrom.jsonPath` of a resource template has it.

Names, indexes, `*`, and filters that compare with `==` or `!=`; not ranges, recursion or slices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pydantic import JsonValue

_PIECE = re.compile(r"\{([^{}]*)\}|([^{}]+)")
_STEP = re.compile(
    r"\.(?P<name>(?:[\w/-]|\\.)+)|\[\s*'(?P<single>[^']*)'\s*\]|\[\s*\"(?P<double>[^\"]*)\"\s*\]"
    r"|\[(?P<index>-?\d+)\]|(?P<all>\.\*|\[\*\])"
    r"|\[\?\(\s*@(?P<path>(?:\.(?:[\w/-]|\\.)+)+)\s*(?P<test>==|!=)\s*"
    r"(?P<value>'[^']*'|\"[^\"]*\"|-?\d+|true|false)\s*\)\]"
)
_Step = re.Match[str]


class JsonPathError(Exception):
    """Not a path, or one that the sandbox does not evaluate."""


def check_json_path(text: str) -> list[str | list[_Step]]:
    """Take a template apart: plain texts, and paths as their steps.

    Raises:
        JsonPathError: the sandbox does not evaluate it.
    """
    pieces: list[str | list[_Step]] = []
    end = 0
    for match in _PIECE.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        pieces.append(match[2] if match[1] is None else _steps(match[1].strip(), text))
    if end != len(text):
        raise JsonPathError(f"jsonPath '{text}' is not supported by the sandbox")
    return pieces


def _steps(path: str, text: str) -> list[_Step]:
    rest = path.removeprefix("$").removeprefix("@")
    if rest == ".":
        return []
    steps = list(_STEP.finditer(rest))
    if not rest or "".join(step[0] for step in steps) != rest:
        raise JsonPathError(
            f"jsonPath '{text}' is not supported by the sandbox: only names, indexes, '*' and filters with == or != are"
        )
    return steps


def evaluate_json_path(text: str, body: JsonValue) -> str:
    """The text that kubectl prints; what is not there prints nothing.

    Raises:
        JsonPathError: the sandbox does not evaluate it, or an index is out of range.
    """
    return "".join(
        piece if isinstance(piece, str) else " ".join(map(_print, _find([body], piece)))
        for piece in check_json_path(text)
    )


def _find(found: list[JsonValue], steps: list[_Step]) -> list[JsonValue]:
    for step in steps:
        found = [inner for value in found for inner in _take(value, step)]
    return found


def _take(value: JsonValue, step: _Step) -> Iterator[JsonValue]:
    groups = step.groupdict()
    name = next((groups[key] for key in ("name", "single", "double") if groups[key] is not None), None)
    if name is not None:
        name = re.sub(r"\\(.)", r"\1", name)
        if isinstance(value, dict) and name in value:
            yield value[name]
    elif groups["index"] is not None:
        if not isinstance(value, list):
            return
        try:
            yield value[int(groups["index"])]
        except IndexError as error:
            raise JsonPathError(f"array index out of bounds: index {groups['index']}, length {len(value)}") from error
    elif groups["all"] is not None:
        yield from value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    elif isinstance(value, list):
        wanted: JsonValue = groups["value"].strip("'\"") if groups["value"][0] in "'\"" else json.loads(groups["value"])
        for item in value:
            inner = _find([item], list(_STEP.finditer(groups["path"])))
            if inner and (inner[0] == wanted) == (groups["test"] == "=="):
                yield item


def _print(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for character in "<>&":  # as Go's encoder writes them
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
