"""The caches of `memoize`: ConfigMaps on a cluster, here a table (workflow/controller/cache)."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from datetime import datetime
from typing import cast

from hera.workflows import models as m
from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer
from pydantic.alias_generators import to_camel

from meta.sandbox.argo.state.status import k8s_time
from meta.sandbox.kubernetes_objects import KubernetesObjects

SCHEMA = """
CREATE TABLE IF NOT EXISTS caches (
  namespace TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, entry TEXT NOT NULL,
  PRIMARY KEY (namespace, name, key));
"""
_KEY = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_LABEL, _TYPE = "workflows.argoproj.io/configmap-type", "Cache"
_LARGEST = 1024 * 1024  # of a ConfigMap's data, in bytes
_FAQ = "https://argo-workflows.readthedocs.io/en/latest/memoization/#faqs"


class CacheError(Exception):
    """A cache that cannot be read or written, in the controller's words."""


class Entry(BaseModel):
    """A cached result, in the JSON of the real ConfigMap."""

    model_config = ConfigDict(alias_generator=lambda n: "nodeID" if n == "node_id" else to_camel(n),
                              populate_by_name=True)  # fmt: skip

    node_id: str = ""
    outputs: m.Outputs | None = None
    creation_timestamp: datetime
    last_hit_timestamp: datetime

    @field_serializer("creation_timestamp", "last_hit_timestamp")
    def _times(self, value: datetime) -> str:
        return k8s_time(value)


class Caches:
    """All caches of a server; a ConfigMap that was given to it is a cache's beginning."""

    def __init__(self, db: sqlite3.Connection | None = None, objects: KubernetesObjects | None = None) -> None:
        """Read the table.

        Args:
            db: the server's database, the table is made if it is not there; None keeps nothing.
            objects: ConfigMaps to begin with.
        """
        self._db, self._objects = db, objects or KubernetesObjects()
        self._data: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        if db is not None:
            db.executescript(SCHEMA)
            rows = db.execute("SELECT namespace, name, key, entry FROM caches").fetchall()
            for namespace, name, key, entry in cast("list[tuple[str, str, str, str]]", rows):
                self._data[namespace, name][key] = entry

    def load(self, cache: tuple[str, str], key: str, now: datetime) -> Entry | None:
        """What is cached under a key; that it was read is kept with it.

        Args:
            cache: its namespace and the name of its ConfigMap.
            key: of the entry.
            now: the time.

        Raises:
            CacheError: not a key, a ConfigMap that is none of Argo's caches, or an entry that is no JSON of one.
        """
        text = self._read(cache, key).get(key)
        if not text:
            return None
        try:
            entry = Entry.model_validate_json(text)
        except ValidationError as error:
            raise CacheError(f"malformed cache entry: could not unmarshal JSON; unable to parse: {error}") from error
        entry.last_hit_timestamp = now
        self._write(cache, key, entry)
        return entry

    def save(self, cache: tuple[str, str], key: str, node_id: str, outputs: m.Outputs | None, now: datetime) -> None:
        """Keep a node's outputs.

        Raises:
            CacheError: not a key, a ConfigMap that is none of Argo's caches, or the cache is full.
        """
        data = self._read(cache, key)
        entry = Entry(node_id=node_id, outputs=outputs, creation_timestamp=now, last_hit_timestamp=now)
        if sum(len(text.encode()) for text in {**data, key: _text(entry)}.values()) > _LARGEST:
            raise CacheError(
                f'error creating cache entry: ConfigMap "{cache[1]}" is invalid: []: Too long: may not be more than '
                f"{_LARGEST} bytes. Please check out this page for help: {_FAQ}"
            )
        self._write(cache, key, entry)

    def _read(self, cache: tuple[str, str], key: str) -> dict[str, str]:
        if not _KEY.fullmatch(key):
            raise CacheError(f"invalid cache key: {key}")
        given = self._objects.find("ConfigMap", cache[1], optional=True)
        if given is None:
            return self._data[cache]
        label = given.labels.get(_LABEL)
        if label != _TYPE:
            lacks = f"{_LABEL} label" if label is None else f"label {_LABEL} = {_TYPE}"
            raise CacheError(f"memoization configmap doesn't have {lacks}, refusing to use it")
        begun = {entry: content.decode(errors="replace") for entry, content in given.data.items()}
        return {**begun, **self._data[cache]}

    def _write(self, cache: tuple[str, str], key: str, entry: Entry) -> None:
        text = self._data[cache][key] = _text(entry)
        if self._db is not None:
            self._db.execute("INSERT OR REPLACE INTO caches VALUES (?, ?, ?, ?)", (*cache, key, text))


def _text(entry: Entry) -> str:
    return entry.model_dump_json(by_alias=True, exclude_none=True)
