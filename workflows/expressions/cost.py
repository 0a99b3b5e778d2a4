"""What an expression may cost when it is computed: what the library itself does not bound.

The library makes a new list for each item that `map` and `filter` go over, so time and memory grow with the square of
the length: 2,000 items cost 70 MB and 0.4 s, 10,000 would cost 1.6 GB. Its own budget (10,000 iterations) is too wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from workflows.errors import ExpressionFailed
from workflows.expressions.tokens import tokenize
from workflows.values import JsonValue, canonical_json

MAX_MAPPED = 2_000
"""Longest list, in items, that an expression with `map` or `filter` may read."""

MAX_RESULT = 1 << 20
"""Largest value of an expression, in bytes of JSON (1 MiB): a history records it, and takes 2 MB at a time."""

_COPYING = ("map", "filter")


def check_reading(source: str, values: Mapping[str, JsonValue]) -> None:
    """Refuse to go over lists that are too long to be copied item by item.

    Args:
        source: the expression.
        values: what it reads, by qualified name; each as often as its name stands there.

    Raises:
        ExpressionFailed: with the list and its length.
    """
    words = [token.text for token in tokenize(source)]
    if not any(words[i] in _COPYING and words[i - 1] == "." and words[i + 1] == "(" for i in range(1, len(words) - 1)):
        return
    mentions = {name: _mentions(name, source) for name in values}
    for name in values:  # a field that is a value of its own is no mention of the whole
        mentions[name] -= sum(mentions[other] for other in values if other.startswith(f"{name}."))
    lengths = {name: _longest(value) * mentions[name] for name, value in values.items()}
    if sum(lengths.values()) > MAX_MAPPED:
        name = max(lengths, key=lambda n: lengths[n])
        raise ExpressionFailed(
            f"expression '{source}': map and filter go over {MAX_MAPPED:,} items at most, "
            f"and there are {sum(lengths.values()):,}, most of them in {name}",
            hint="pass the whole list to a step that works on it; all, exists, size and [index] take longer lists",
        )


def _mentions(name: str, source: str) -> int:
    parts = r"\s*\.\s*".join(map(re.escape, name.split(".")))
    return len(re.findall(rf"(?<![\w.]){parts}(?!\w)", source))


def check_result(source: str, value: JsonValue) -> None:
    """Refuse a value that is too large to travel.

    Raises:
        ExpressionFailed: with its size.
    """
    if not isinstance(value, (str, list, dict)):
        return
    try:
        size = len(canonical_json(value))
    except ValueError:  # a lone surrogate: whoever sends it on says so
        return
    if size > MAX_RESULT:
        raise ExpressionFailed(
            f"expression '{source}' gives {size:,} bytes, {MAX_RESULT:,} at most", hint="pass it as an artifact"
        )


def _longest(value: JsonValue) -> int:
    """The length of the longest list in a value."""
    if isinstance(value, list):
        return max(len(value), max(map(_longest, value), default=0))
    return max(map(_longest, value.values()), default=0) if isinstance(value, dict) else 0
