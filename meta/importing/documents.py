"""Kubernetes YAML as it is imported: several documents in a file, with the place of everything in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from workflows.errors import DefinitionInvalid, InvalidInput
from workflows.spec.locate import Path as Place
from workflows.spec.yaml12 import Document
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue

MAX_BYTES = 2 << 20
"""Largest file that is imported: more than etcd takes of one object."""


class ImportRefused(InvalidInput):
    """A file that cannot be imported at all: of another kind, or nothing in it starts a run."""

    code = "IMPORT_REFUSED"


@dataclass(frozen=True)
class At:
    """A value in a document, and where it stands.

    What is absent reads as empty; what has another shape than it should is refused, with its place.
    """

    document: Document
    path: Place = ()

    @property
    def value(self) -> JsonValue:
        found = self.document.value
        for part in self.path:
            if isinstance(found, dict):
                found = found.get(str(part))
            elif isinstance(found, list) and isinstance(part, int) and part < len(found):
                found = found[part]
            else:
                return None
        return found

    @property
    def place(self) -> str:
        """`file:line:column`."""
        problem = self.document.locator.problem(self.path, "")
        return f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file

    def __getitem__(self, part: str | int) -> At:
        return At(self.document, (*self.path, part))

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def at(self, *parts: str | int) -> At:
        return At(self.document, (*self.path, *parts))

    def text(self, key: str) -> str:
        """The string at a key; numbers and booleans as their text, as Kubernetes' string fields never are."""
        value = self[key].value
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        raise self[key].refused("is no string")

    def flag(self, key: str) -> bool:
        return self[key].value is True

    def object(self) -> JsonObject:
        value = self.value
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refused("has no keys and values")
        return value

    def items(self) -> list[At]:
        """The entries of a list."""
        value = self.value
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refused("is no list")
        return [self[i] for i in range(len(value))]

    def entries(self) -> list[tuple[str, At]]:
        """The keys of an object, with what stands under them."""
        return [(key, self[key]) for key in self.object()]

    def unknown(self, known: Collection[str]) -> Iterator[tuple[str, At, str]]:
        """Keys that this kind of object does not have: name, place, perhaps the right one."""
        for key, value in self.entries():
            if key not in known:
                yield key, value, did_you_mean(key, known)

    def refused(self, what: str) -> ImportRefused:
        name = self.path[-1] if self.path else "the document"
        return ImportRefused(f"{self.place}: {name} {what}")


def read_documents(file: Path) -> list[At]:
    """Every document of a file that holds something.

    Raises:
        ImportRefused: it cannot be read, or is no Kubernetes YAML.
        DefinitionInvalid: broken YAML, with every place.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ImportRefused(f"{file} has more than {MAX_BYTES:,} bytes")
        text = file.read_text(encoding="utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise ImportRefused(f"{file} is not UTF-8 text", hint="save it as UTF-8") from None
    except OSError as error:
        raise ImportRefused(f"{file} cannot be read: {error.strerror}") from error
    documents = [Document(part, str(file)) for part in _split(text)]
    problems = [problem for document in documents for problem in document.problems]
    if problems:
        raise DefinitionInvalid(problems)
    found = [At(document) for document in documents if document.value is not None]
    if not found:
        raise ImportRefused(f"{file} is empty", hint="give the YAML of a Sensor or a WorkflowTemplate")
    return [inner for one in found for inner in _unfold(one)]


def _unfold(document: At) -> list[At]:
    """The objects of a `kind: List`, as `kubectl get -o yaml` writes it; else the document itself."""
    if not isinstance(document.value, dict):
        raise ImportRefused(f"{document.place}: a document is no Kubernetes object")
    return document["items"].items() if document.text("kind") == "List" else [document]


def _split(text: str) -> list[str]:
    """The documents of a text, each with blanks before it, so that lines and columns stay those of the file."""
    starts: list[int] = []
    with suppress(yaml.YAMLError, RecursionError):  # `Document` says what is wrong in the last one, and where
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.DocumentStartEvent) and event.start_mark is not None:
                starts.append(event.start_mark.index)
    if not starts:
        return [text] if _says_something(text) else []
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [_blank(text[:start]) + part for start, part in zip(starts, parts, strict=True) if _says_something(part)]


def _says_something(part: str) -> bool:
    lines = (line.partition("#")[0].strip() for line in part.splitlines())
    return any(line not in ("", "---", "...") for line in lines)


def _blank(text: str) -> str:
    return "".join(char if char == "\n" else " " for char in text)
