"""ConfigMaps and Secrets for the sandbox engines, from ordinary Kubernetes YAML.

Files or folders are given with `--objects`. There is one namespace in a sandbox, so an object's own does not count.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import yaml

from workflows.errors import SettingsInvalid

_KINDS = ("ConfigMap", "Secret")
_BASE64 = {"ConfigMap": ("binaryData",), "Secret": ("data",)}
_PLAIN = {"ConfigMap": ("data",), "Secret": ("stringData",)}  # what comes later wins, as on a cluster
_OTHER = frozenset({"apiVersion", "kind", "metadata", "type", "immutable"})


class MissingObjectError(Exception):
    """An object or its key was not given; the message is kubelet's."""


class KeyReference(Protocol):
    """A `secretKeyRef` or `configMapKeyRef`."""

    name: str | None
    key: str
    optional: bool | None


@dataclass(frozen=True, slots=True)
class KeyedObject:
    """A ConfigMap or Secret, decoded."""

    kind: str
    name: str
    labels: Mapping[str, str]
    data: Mapping[str, bytes]


@dataclass(frozen=True)
class KubernetesObjects:
    """What was given, by kind and name; and what was made since."""

    objects: dict[tuple[str, str], KeyedObject] = field(default_factory=dict[tuple[str, str], KeyedObject])

    def put(self, place: object, body: Mapping[str, object]) -> None:
        """Keep an object, in the place of another of its kind and name.

        Args:
            place: where it is from, for the message.
            body: as Kubernetes has it.

        Raises:
            SettingsInvalid: it is no ConfigMap or Secret, or it has another field or a wrong value.
        """
        found = _object(place, body)
        self.objects[found.kind, found.name] = found

    @classmethod
    def load(cls, places: Sequence[Path]) -> KubernetesObjects:
        """Read files, and the `*.yaml`, `*.yml` and `*.json` of folders.

        Raises:
            SettingsInvalid: a file cannot be read, holds another kind or field, or an object stands twice.
        """
        objects: dict[tuple[str, str], KeyedObject] = {}
        for place in places:
            if not place.exists():
                raise SettingsInvalid(f"{place}: there is no such file or folder. Check the path given by --objects.")
            inside = sorted(f for f in place.glob("*") if f.suffix in {".yaml", ".yml", ".json"})
            for file in inside if place.is_dir() else [place]:
                for found in _read(file):
                    if (found.kind, found.name) in objects:
                        raise SettingsInvalid(f"{file}: {found.kind} {found.name} stands twice. Keep one of the two.")
                    objects[found.kind, found.name] = found
        return cls(objects)

    def find(self, kind: str, name: str | None, *, optional: bool | None = False) -> KeyedObject | None:
        """An object; None only where it is optional.

        Args:
            kind: `ConfigMap` or `Secret`.
            name: its name.
            optional: whether it may be absent.

        Raises:
            MissingObjectError: it was not given.
        """
        found = self.objects.get((kind, name or ""))
        if found is None and not optional:
            raise MissingObjectError(f'{kind.lower()} "{name}" not found')
        return found

    def value(self, kind: str, reference: KeyReference) -> bytes | None:
        """One key's value; None only where the reference is optional.

        Raises:
            MissingObjectError: the object was not given, or has no such key.
        """
        found = self.find(kind, reference.name, optional=reference.optional)
        if found is not None and reference.key in found.data:
            return found.data[reference.key]
        if reference.optional:
            return None
        raise MissingObjectError(f"couldn't find key {reference.key} in {kind} {reference.name}")


def _read(file: Path) -> Iterator[KeyedObject]:
    try:
        documents = cast("list[object]", list(yaml.safe_load_all(file.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"{file}: cannot be read as Kubernetes YAML: {error}") from error
    for document in documents:
        if isinstance(document, dict):
            listed = cast("dict[str, object]", document)
            items = listed.get("items") if listed.get("kind") == "List" else None
            for item in cast("list[object]", items) if isinstance(items, list) else [listed]:
                yield _object(file, item)
        elif document is not None:
            raise SettingsInvalid(f"{file}: a document is no Kubernetes object but {type(document).__name__}.")


def _object(file: object, raw: object) -> KeyedObject:
    body: Mapping[str, object] = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    kind, metadata = body.get("kind"), _strings_of(file, body, "metadata", values=object)
    name = metadata.get("name")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SettingsInvalid(f"{file}: kind {kind} is not known here. Give {' and '.join(_KINDS)} objects only.")
    if not isinstance(name, str) or not name:
        raise SettingsInvalid(f"{file}: a {kind} has no metadata.name.")
    where = f"{file}: {kind} {name}"
    unknown = sorted(set(body) - _OTHER - set(_BASE64[kind]) - set(_PLAIN[kind]))
    if unknown:
        raise SettingsInvalid(f"{where}: unknown field {unknown[0]}.")
    data: dict[str, bytes] = {}
    for key in _BASE64[kind]:
        for entry, text in _strings_of(where, body, key, values=str).items():
            try:
                data[entry] = base64.b64decode(cast("str", text), validate=True)
            except binascii.Error as error:
                raise SettingsInvalid(f"{where}.{key}.{entry}: is not base64: {error}.") from error
    for key in _PLAIN[kind]:
        data |= {e: cast("str", t).encode() for e, t in _strings_of(where, body, key, values=str).items()}
    labels = cast("dict[str, str]", _strings_of(where, metadata, "labels", values=str))
    return KeyedObject(kind, name, labels, data)


def _strings_of(where: object, body: Mapping[str, object], key: str, *, values: type) -> dict[str, object]:
    found = body.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsInvalid(f"{where}.{key}: must be an object.")
    for entry, value in cast("dict[object, object]", found).items():
        if not isinstance(entry, str) or not isinstance(value, values):
            raise SettingsInvalid(f"{where}.{key}.{entry}: must be a string. Put it in quotes.")
    return cast("dict[str, object]", found)
