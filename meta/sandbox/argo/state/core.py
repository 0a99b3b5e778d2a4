"""ConfigMaps, Secrets and PersistentVolumeClaims that resource templates have made or changed, as they are rendered.

Those that the server was started with (`--objects`) are found here too; what was changed of one stays changed, and one
that was deleted is there again after the next start.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import uuid
from collections.abc import Callable
from typing import cast

from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.kubernetes_objects import KeyedObject, KubernetesObjects

_SCHEMA = """
CREATE TABLE IF NOT EXISTS core_objects (
  kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name));
"""
_KEYED = frozenset({"ConfigMap", "Secret"})


class CoreObjects:
    """The objects of Kubernetes' own kinds; pods see each change of the ConfigMaps and Secrets that they start with."""

    def __init__(self, db: sqlite3.Connection, next_version: Callable[[], int]) -> None:
        """Read the table, which is made if it is not there.

        Args:
            db: the server's database.
            next_version: counts the resource version up, for good.
        """
        self._db, self._next_version = db, next_version
        db.executescript(_SCHEMA)
        rows = cast("list[tuple[str, str, str]]", db.execute("SELECT kind, name, body FROM core_objects").fetchall())
        self._bodies: dict[tuple[str, str], JsonObject] = {(k, n): json.loads(body) for k, n, body in rows}
        self._keyed = KubernetesObjects()

    def share(self, keyed: KubernetesObjects, namespace: str) -> None:
        """Take in what the server was started with; from now on `keyed` has what is kept here."""
        self._keyed = keyed
        for key, given in keyed.objects.items():
            self._bodies.setdefault(key, _rendered(given, namespace))
        for key, body in self._bodies.items():
            if key[0] in _KEYED:
                keyed.put("the sandbox's store", _bare(body))

    def get(self, kind: str, name: str) -> JsonObject | None:
        return self._bodies.get((kind, name))

    def all(self, kind: str) -> list[JsonObject]:
        return [body for (of, _), body in sorted(self._bodies.items()) if of == kind]

    def put(self, kind: str, name: str, body: JsonObject) -> None:
        """Keep an object, new or changed.

        Raises:
            SettingsInvalid: its data is not what its kind has.
        """
        if kind in _KEYED:
            self._keyed.put(f"{kind} {name}", _bare(body))
        cast("JsonObject", body["metadata"])["resourceVersion"] = str(self._next_version())
        self._db.execute("INSERT OR REPLACE INTO core_objects VALUES (?, ?, ?)", (kind, name, json.dumps(body)))
        self._bodies[kind, name] = body

    def remove(self, kind: str, name: str) -> None:
        self._db.execute("DELETE FROM core_objects WHERE kind = ? AND name = ?", (kind, name))
        self._next_version()
        del self._bodies[kind, name]
        self._keyed.objects.pop((kind, name), None)


def _bare(body: JsonObject) -> JsonObject:
    """Without the status, which the reader of given objects does not know."""
    return {key: value for key, value in body.items() if key != "status"}


def _rendered(given: KeyedObject, namespace: str) -> JsonObject:
    metadata: JsonObject = {
        "name": given.name, "namespace": namespace, "resourceVersion": "1",
        "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{given.kind}/{given.name}")),
    }  # fmt: skip
    if given.labels:
        metadata["labels"] = dict(given.labels)
    body: JsonObject = {"apiVersion": "v1", "kind": given.kind, "metadata": metadata}
    data: JsonObject = {}
    binary: JsonObject = {}
    for key, value in given.data.items():
        if given.kind == "Secret":
            data[key] = base64.b64encode(value).decode()
            continue
        try:
            data[key] = value.decode()
        except UnicodeDecodeError:  # Kubernetes keeps such values apart
            binary[key] = base64.b64encode(value).decode()
    if data:
        body["data"] = data
    if binary:
        body["binaryData"] = binary
    return body
