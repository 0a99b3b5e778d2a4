"""Artifacts as a server of the 3.x API keeps and shows them (`/apis/v2beta1/artifacts`, message Artifact).

Source: kubeflow/pipelines, branch mlmd-removal: backend/api/v2beta1/artifact.proto, the launcher and the importer. One
artifact of ML Metadata is one here, but metrics: each number of theirs is an artifact of its own without a URI.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import not_found
from meta.sandbox.kfp.listing import Listing
from meta.sandbox.kfp.pipeline import Json
from meta.sandbox.kfp.views import compact, timestamp

# schema title -> (number of the enum ArtifactType, its name)
_TYPES: Mapping[str, tuple[int, str]] = {
    "system.Artifact": (1, "Artifact"),
    "system.Model": (2, "Model"),
    "system.Dataset": (3, "Dataset"),
    "system.HTML": (4, "HTML"),
    "system.Markdown": (5, "Markdown"),
    "system.Metrics": (6, "Metric"),
    "system.ClassificationMetrics": (7, "ClassificationMetric"),
    "system.SlicedClassificationMetrics": (8, "SlicedClassificationMetric"),
}
_NAMES = dict(_TYPES.values())
_METRICS = "system.Metrics"
_NO_OBJECT = ("system.ClassificationMetrics", "system.SlicedClassificationMetrics")
_TITLE = "_kfp_schema_title"  # where a type of somebody's own keeps its name

ARTIFACTS = Listing(
    "Artifact",
    "rest_artifacts",
    {
        "artifact_id": "id", "id": "id", "namespace": "namespace", "type": "type", "uri": "uri", "name": "name",
        "description": "''", "created_at": "created_at", "last_update": "created_at", "metadata": "metadata",
        "number_value": "coalesce(number_value, 0)",
    },
)  # fmt: skip


def record(
    database: Database, number: int, *, name: str, uri: str, type_name: str, metadata: Mapping[str, Any],
    namespace: str, created_at: int,
) -> None:  # fmt: skip
    """Keep an artifact for the 3.x API.

    Args:
        database: has the table `rest_artifacts`.
        number: its id in ML Metadata.
        name: of the task's output.
        uri: where it is.
        type_name: schema title.
        metadata: as the component or the importer gave it.
        namespace: the server's.
        created_at: seconds since the epoch.
    """
    kind, _ = _TYPES.get(type_name, _TYPES["system.Artifact"])
    kept = dict(metadata) if type_name in _TYPES else {**metadata, _TITLE: type_name}
    rows: list[tuple[str, str, str, float | None]] = [(name, "" if type_name in _NO_OBJECT else uri, dumps(kept), None)]
    if type_name == _METRICS:
        numbers = {key: value for key, value in metadata.items() if _is_number(value)}
        rows = [(key, "", dumps({key: value}), float(value)) for key, value in numbers.items()]
    for shown, where, text, value in rows:
        database.execute(
            "INSERT INTO rest_artifacts (id, artifact_id, name, type, uri, metadata, number_value, namespace, "
            "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            str(uuid.uuid4()), number, shown, kind, where, text, value, namespace, created_at,
        )  # fmt: skip


def dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def of_metadata(database: Database, numbers: Sequence[int]) -> dict[int, list[Json]]:
    """The artifacts that stand for artifacts of ML Metadata, by their ids there."""
    marks = ", ".join("?" for _ in numbers)
    rows = database.rows(
        f"SELECT * FROM rest_artifacts WHERE artifact_id IN ({marks}) ORDER BY artifact_id, rowid", *numbers
    )
    found: dict[int, list[Json]] = {number: [] for number in numbers}
    for row in rows:
        found[row["artifact_id"]].append(view(row))
    return found


def get(database: Database, artifact_id: str) -> Json:
    """One artifact.

    Raises:
        ApiError: there is none of that id.
    """
    row = database.row("SELECT * FROM rest_artifacts WHERE id = ?", artifact_id)
    if row is None:
        raise not_found("artifact", artifact_id)
    return view(row)


def view(row: sqlite3.Row) -> Json:
    shown = compact(
        {
            "artifact_id": row["id"],
            "name": row["name"],
            "type": _NAMES[row["type"]],
            "uri": row["uri"],
            "metadata": json.loads(row["metadata"]),
            "created_at": timestamp(row["created_at"]),
            "namespace": row["namespace"],
        }
    )
    if row["number_value"] is not None:  # optional in the proto, so zero is shown
        shown["number_value"] = row["number_value"]
    return shown
