"""Experiments, pipelines and their versions, as stored."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Mapping
from typing import Literal

from meta.sandbox.kfp import runs
from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import already_exists, bad_request, doing, internally, invalid_input, not_found
from meta.sandbox.kfp.pipeline import Json, canonical

_DEFAULT = "Default"
_LONGEST = {
    ("Experiment", "Name"): 128,
    ("Experiment", "Namespace"): 63,
    ("Pipeline", "Name"): 128,
    ("PipelineVersion", "Name"): 127,
}
_MOST_TAGS, _LONGEST_TAG = 20, 63


class Catalog:
    """Reads and writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        if database.row("SELECT id FROM experiments WHERE display_name = ?", _DEFAULT) is None:
            self.create_experiment(_DEFAULT, "All runs created without specifying an experiment will be grouped here.")

    # -- experiments

    def create_experiment(self, name: str, description: str, namespace: str = "") -> sqlite3.Row:
        """Store an experiment.

        Args:
            name: unique; at most 128 bytes.
            description: free text.
            namespace: kept and shown; a server for one user makes nothing of it.

        Raises:
            ApiError: there is no name, it is too long, or it is taken.
        """
        with internally("Failed to convert API experiment to model experiment"):
            if not name:
                raise invalid_input("Experiment must have a non-empty name")
            check_length("Experiment", "Name", name)
            check_length("Experiment", "Namespace", namespace)
        number = str(uuid.uuid4())
        try:
            self._database.execute(
                "INSERT INTO experiments (id, display_name, description, created_at, last_run_created_at, "
                "storage_state, namespace) VALUES (?, ?, ?, ?, 0, ?, ?)",
                number, name, description, int(time.time()), runs.AVAILABLE, namespace,
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise already_exists(
                f"Failed to create a new experiment. The name {name} already exists. Please specify a new name"
            ) from error
        return self.experiment(number)

    def experiment(self, experiment_id: str) -> sqlite3.Row:
        """Read an experiment.

        Raises:
            ApiError: there is none of that id.
        """
        row = self._database.row("SELECT * FROM experiments WHERE id = ?", experiment_id)
        if row is None:
            raise not_found("Experiment", experiment_id)
        return row

    def default_experiment(self) -> str:
        row = self._database.row("SELECT id FROM experiments WHERE display_name = ?", _DEFAULT)
        if row is None:
            raise not_found("Experiment", _DEFAULT)
        return str(row["id"])

    def archive_experiment(self, experiment_id: str) -> None:
        """Archive an experiment and all its runs. One that is not there is no error, as on the real server."""
        with self._database.transaction():
            for sql in (
                "UPDATE experiments SET storage_state = ? WHERE id = ?",
                "UPDATE runs SET storage_state = ? WHERE experiment_id = ?",
            ):
                self._database.execute(sql, runs.ARCHIVED, experiment_id)

    def unarchive_experiment(self, experiment_id: str) -> None:
        """Bring an experiment back; its runs stay archived."""
        self._database.execute("UPDATE experiments SET storage_state = ? WHERE id = ?", runs.AVAILABLE, experiment_id)

    def delete_experiment(self, experiment_id: str) -> None:
        """Forget an experiment; its runs stay.

        Raises:
            ApiError: there is none of that id, or it is the default one.
        """
        if experiment_id == self.default_experiment():
            raise bad_request(
                f"Failed to delete experiment {experiment_id}. The default experiment cannot be deleted",
                f"Invalid input error: Experiment id cannot be equal to the default id {experiment_id}",
            )
        with doing(f"Failed to delete experiment {experiment_id} due to error fetching it"):
            self.experiment(experiment_id)
        self._database.execute("DELETE FROM experiments WHERE id = ?", experiment_id)

    def touch_experiment(self, experiment_id: str) -> None:
        """A run was made in it now."""
        self._database.execute(
            "UPDATE experiments SET last_run_created_at = ? WHERE id = ?", int(time.time()), experiment_id
        )

    # -- pipelines

    def create_pipeline(
        self, name: str, display_name: str, description: str, tags: Mapping[str, str] | None = None
    ) -> sqlite3.Row:
        """Store a pipeline without versions.

        Raises:
            ApiError: the name is too long or taken, or a tag is not valid.
        """
        with internally("Failed to convert API pipeline to model pipeline"):
            check_length("Pipeline", "Name", name)
        if not name:
            raise invalid_input("name is required")
        check_tags(tags)
        number = str(uuid.uuid4())
        try:
            self._database.execute(
                "INSERT INTO pipelines (id, name, display_name, description, created_at, tags) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                number, name, display_name or name, description, int(time.time()), json.dumps(tags or {}),
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise already_exists(
                f"Failed to create a new pipeline. The name {name} already exist. Please specify a new name"
            ) from error
        return self.pipeline(number)

    def pipeline(self, pipeline_id: str) -> sqlite3.Row:
        """Read a pipeline.

        Raises:
            ApiError: there is none of that id.
        """
        row = self._database.row("SELECT * FROM pipelines WHERE id = ?", pipeline_id)
        if row is None:
            raise not_found("Pipeline", pipeline_id)
        return row

    def has_pipeline(self, pipeline_id: str) -> bool:
        return self._database.row("SELECT id FROM pipelines WHERE id = ?", pipeline_id) is not None

    def pipeline_by_name(self, name: str) -> sqlite3.Row:
        """Read a pipeline.

        Raises:
            ApiError: there is none of that name.
        """
        row = self._database.row("SELECT * FROM pipelines WHERE name = ?", name)
        if row is None:
            raise not_found("Namespace/Pipeline", f"/{name}")
        return row

    def delete_pipeline(self, pipeline_id: str, *, cascade: bool) -> None:
        """Forget a pipeline.

        Args:
            pipeline_id: which.
            cascade: its versions too; else it must have none.

        Raises:
            ApiError: there is none of that id, or it has versions.
        """
        with doing(f"Failed to delete pipeline with id {pipeline_id} as it was not found"):
            self.pipeline(pipeline_id)
        left = self._latest(pipeline_id)
        if left is not None and not cascade:
            raise invalid_input(
                f"Failed to delete pipeline with id {pipeline_id} as it has existing pipeline versions "
                f"(e.g. {left['id']}). Set cascade=true to delete all versions"
            )
        self._database.execute("DELETE FROM pipelines WHERE id = ?", pipeline_id)

    # -- versions

    def create_version(
        self,
        pipeline_id: str,
        *,
        name: str,
        document: Json,
        display_name: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> sqlite3.Row:
        """Store a version.

        Raises:
            ApiError: there is no such pipeline, the name is taken in it, or a tag is not valid.
        """
        self.pipeline(pipeline_id)
        check_tags(tags)
        number = str(uuid.uuid4())
        try:
            self._database.execute(
                "INSERT INTO versions (id, pipeline_id, name, display_name, description, created_at, code_source_url, "
                "document, tags) VALUES (?, ?, ?, ?, ?, ?, '', ?, ?)",
                number, pipeline_id, name, display_name or name, description, int(time.time()), canonical(document),
                json.dumps(tags or {}),
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise already_exists(
                f"Failed to create a new pipeline version. The name {name} already exist. Specify a new name"
            ) from error
        return self.version(number)

    def version(self, version_id: str) -> sqlite3.Row:
        """Read a version, of whichever pipeline.

        Raises:
            ApiError: there is none.
        """
        row = self._database.row("SELECT * FROM versions WHERE id = ?", version_id)
        if row is None:
            raise not_found("PipelineVersion", version_id)
        return row

    def latest_version(self, pipeline_id: str) -> sqlite3.Row:
        """The newest version of a pipeline.

        Raises:
            ApiError: there is no such pipeline, or it has no version.
        """
        with doing("Failed to get the latest pipeline version as pipeline was not found"):
            self.pipeline(pipeline_id)
        row = self._latest(pipeline_id)
        if row is None:
            raise not_found("PipelineVersion", pipeline_id).wrap(
                "Failed to get the latest pipeline version for a pipeline"
            )
        return row

    def _latest(self, pipeline_id: str) -> sqlite3.Row | None:
        return self._database.row(
            "SELECT * FROM versions WHERE pipeline_id = ? ORDER BY created_at DESC, rowid DESC LIMIT 1", pipeline_id
        )

    def delete_version(self, version_id: str) -> None:
        with doing(f"Failed to delete pipeline version with id {version_id} as it was not found"):
            self.version(version_id)
        self._database.execute("DELETE FROM versions WHERE id = ?", version_id)

    def update(
        self, table: Literal["pipelines", "versions"], row_id: str, name: str, tags: Mapping[str, str] | None
    ) -> None:
        """Change what can be changed of a pipeline or version: the display name unless empty, the tags unless None.

        Raises:
            ApiError: a tag is not valid.
        """
        check_tags(tags)
        self._database.execute(
            f"UPDATE {table} SET display_name = iif(?1 = '', display_name, ?1), tags = coalesce(?2, tags) "
            "WHERE id = ?3",
            name, None if tags is None else json.dumps(tags), row_id,
        )  # fmt: skip


def check_length(model: str, field: str, value: str) -> None:
    """Refuse a name that is too long for the real server's tables (validation/length.go).

    Raises:
        ApiError: it is.
    """
    longest = _LONGEST[model, field]
    if len(value.encode()) > longest:
        raise invalid_input(f"{model}.{field} length cannot exceed {longest}")


def check_tags(tags: Mapping[str, str] | None) -> None:
    """Check the tags of a pipeline or version (model/pipeline_tags.go).

    Raises:
        ApiError: too many, or one is not valid.
    """
    if len(tags or {}) > _MOST_TAGS:
        raise invalid_input(f"number of tags ({len(tags or {})}) exceeds maximum of {_MOST_TAGS} per entity")
    for key, value in (tags or {}).items():
        if not key:
            raise invalid_input("tag key cannot be empty")
        if "." in key:
            raise invalid_input(f"tag key \"{key}\" must not contain '.' character")
        if len(key) > _LONGEST_TAG:
            raise invalid_input(f'tag key "{key}" exceeds maximum length of {_LONGEST_TAG} characters')
        if len(value) > _LONGEST_TAG:
            raise invalid_input(
                f'tag value "{value}" for key "{key}" exceeds maximum length of {_LONGEST_TAG} characters'
            )
