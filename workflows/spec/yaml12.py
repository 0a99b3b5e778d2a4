"""YAML as version 1.2 reads it, with the place of every key and value.

PyYAML reads version 1.1, where `no` is false and `12:30` a number. Only its parser is used here; what a plain word
means is decided by the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3), with `true` and `false` alone as
booleans.
"""

from __future__ import annotations

import math
import re
from typing import cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from workflows.errors import Problem
from workflows.spec.locate import Locator, Path, Span
from workflows.values import JsonValue

MAX_NODES = 100_000
"""Most values in a document, counted with aliases expanded: a short text can stand for billions."""
MAX_DEPTH = 60

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CORE_TAGS = {f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null", "map", "seq")}


class Document:
    """A YAML text, read.

    Attributes:
        value: what it says; None when the syntax is broken.
        locator: where each part of it stands.
        problems: everything that is wrong with it as YAML.
    """

    def __init__(self, text: str, file: str = "") -> None:
        self.problems: list[Problem] = []
        self.value: JsonValue = None
        self._text = text
        self._keys: dict[Path, Span] = {}
        self._values: dict[Path, Span] = {}
        self._nodes = 0
        self.locator = Locator(file, text, self._keys, self._values)
        root = self._compose()
        if root is not None:
            try:
                self.value = self._convert(root, (), 0)
            except _TooLarge as error:
                self.problems.append(self.locator.problem((), str(error)))

    def _compose(self) -> Node | None:
        loader = _Loader(self._text) if _printable(self._text) else None
        if loader is None:
            self._fail_at(_bad_character(self._text), "a character that YAML does not allow")
            return None
        try:
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = error.problem or error.context or "this is no YAML"
            if "expected a single document" in f"{error.context} {error.problem}":
                what = "a file holds one definition, this one has a second document"
            if "'\\t'" in what:
                what = "a tab; YAML indents with spaces"
            self._fail_at(mark.index if mark is not None else 0, what)
            return None
        except RecursionError:
            self._fail_at(0, f"nested more than {MAX_DEPTH} deep")
            return None
        finally:
            loader.dispose()
        if node is None:
            self._fail_at(0, "the file is empty")
        return node

    def _fail_at(self, offset: int, message: str) -> None:
        self._values[()] = Span(min(offset, len(self._text)), len(self._text))
        self.problems.append(self.locator.problem((), message))

    def _convert(self, node: Node, path: Path, depth: int) -> JsonValue:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooLarge(f"more than {MAX_NODES} values, with aliases expanded")
        if depth > MAX_DEPTH:
            raise _TooLarge(f"nested more than {MAX_DEPTH} deep")
        self._values[path] = Span(node.start_mark.index, node.end_mark.index)
        if node.tag not in _CORE_TAGS:
            self.problems.append(self.locator.problem(path, f"the tag {node.tag!r} means nothing here"))
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            items = cast(list[Node], node.value)
            return [self._convert(item, (*path, i), depth + 1) for i, item in enumerate(items)]
        return self._scalar(cast(ScalarNode, node), path)

    def _mapping(self, node: MappingNode, path: Path, depth: int) -> JsonValue:
        result: dict[str, JsonValue] = {}
        for key_node, value_node in cast(list[tuple[Node, Node]], node.value):
            if not isinstance(key_node, ScalarNode):
                self._values[path] = Span(key_node.start_mark.index, key_node.end_mark.index)
                self.problems.append(self.locator.problem(path, "a key must be a word"))
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in result:
                first = self.locator.problem(here, "", key=True).line
                self._keys[here] = Span(key_node.start_mark.index, key_node.end_mark.index)
                message = f"key '{key}' stands twice, first on line {first}"
                self.problems.append(self.locator.problem(here, message, key=True))
                continue
            self._keys[here] = Span(key_node.start_mark.index, key_node.end_mark.index)
            result[key] = self._convert(value_node, here, depth + 1)
        return result

    def _scalar(self, node: ScalarNode, path: Path) -> JsonValue:  # noqa: PLR0911 - one for each type
        text = str(node.value)
        if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            self.problems.append(self.locator.problem(path, "broken text: half of a character (a lone surrogate)"))
            return None
        explicit = node.tag.rpartition(":")[2]
        if explicit == "str" and (node.style is not None or self._text[node.start_mark.index :].startswith("!")):
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.fullmatch(text) and len(text) <= 400:
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
            self.problems.append(self.locator.problem(path, f"{text} is too large for a number"))
            return None
        if text.lower() in (".nan", ".inf", "+.inf", "-.inf"):
            self.problems.append(self.locator.problem(path, f"{text} is no number that JSON has"))
            return None
        return text


class _TooLarge(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with no implicit types: every plain word is a string until `Document` reads it."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - the base's own shape


_NOT_PRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _printable(text: str) -> bool:
    return _NOT_PRINTABLE.search(text) is None


def _bad_character(text: str) -> int:
    match = _NOT_PRINTABLE.search(text)
    return match.start() if match is not None else 0
