"""Experiments, pipelines and their versions, as stored."""

from __future__ import annotations

import sqlite3
import time
import uuid

from meta.sandbox.kfp import runs
from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import already_exists, not_found
from meta.sandbox.kfp.pipeline import Json, canonical

_DEFAULT = "Default"


class Catalog:
    """Reads and writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        if database.row("SELECT id FROM experiments WHERE display_name = ?", _DEFAULT) is None:
            self.create_experiment(_DEFAULT, "All runs created without specifying an experiment will be grouped here.")

    # -- experiments

    def create_experiment(self, name: str, description: str) -> sqlite3.Row:
        """Store an experiment.

        Raises:
            ApiError: the name is taken.
        """
        number = str(uuid.uuid4())
        try:
            self._database.execute(
                "INSERT INTO experiments VALUES (?, ?, ?, ?, 0, ?)",
                number, name, description, int(time.time()), runs.AVAILABLE,
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

    def archive_experiment(self, experiment_id: str, state: str) -> None:
        self.experiment(experiment_id)
        self._database.execute("UPDATE experiments SET storage_state = ? WHERE id = ?", state, experiment_id)

    def delete_experiment(self, experiment_id: str) -> None:
        self.experiment(experiment_id)
        self._database.execute("DELETE FROM experiments WHERE id = ?", experiment_id)

    def touch_experiment(self, experiment_id: str) -> None:
        """A run was made in it now."""
        self._database.execute(
            "UPDATE experiments SET last_run_created_at = ? WHERE id = ?", int(time.time()), experiment_id
        )

    # -- pipelines

    def create_pipeline(self, name: str, display_name: str, description: str) -> sqlite3.Row:
        """Store a pipeline without versions.

        Raises:
            ApiError: the name is taken.
        """
        number = str(uuid.uuid4())
        try:
            self._database.execute(
                "INSERT INTO pipelines VALUES (?, ?, ?, ?, ?)",
                number, name, display_name or name, description, int(time.time()),
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise already_exists(
                f"Failed to create a new pipeline. The name {name} already exists. Please specify a new name"
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

    def pipeline_by_name(self, name: str) -> sqlite3.Row:
        """Read a pipeline.

        Raises:
            ApiError: there is none of that name.
        """
        row = self._database.row("SELECT * FROM pipelines WHERE name = ?", name)
        if row is None:
            raise not_found("Pipeline", name)
        return row

    def delete_pipeline(self, pipeline_id: str) -> None:
        self.pipeline(pipeline_id)
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
        code_source_url: str = "",
    ) -> sqlite3.Row:
        """Store a version.

        Raises:
            ApiError: there is no such pipeline, or the name is taken in it.
        """
        self.pipeline(pipeline_id)
        number = str(uuid.uuid4())
        try:
            self._database.execute(
                "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                number, pipeline_id, name, display_name or name, description, int(time.time()), code_source_url,
                canonical(document),
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise already_exists(
                f"Failed to create a new pipeline version. The name {name} already exists. Specify a new name"
            ) from error
        return self.version(pipeline_id, number)

    def version(self, pipeline_id: str, version_id: str) -> sqlite3.Row:
        """Read a version; without a pipeline id, of any pipeline.

        Raises:
            ApiError: there is none.
        """
        row = self._database.row(
            "SELECT * FROM versions WHERE id = ? AND (pipeline_id = ? OR ? = '')", version_id, pipeline_id, pipeline_id
        )
        if row is None:
            raise not_found("PipelineVersion", version_id)
        return row

    def latest_version(self, pipeline_id: str) -> sqlite3.Row:
        """The newest version of a pipeline.

        Raises:
            ApiError: there is no such pipeline, or it has no version.
        """
        self.pipeline(pipeline_id)
        row = self._database.row(
            "SELECT * FROM versions WHERE pipeline_id = ? ORDER BY created_at DESC, rowid DESC LIMIT 1", pipeline_id
        )
        if row is None:
            raise not_found("PipelineVersion", f"of pipeline {pipeline_id}")
        return row

    def delete_version(self, pipeline_id: str, version_id: str) -> None:
        self.version(pipeline_id, version_id)
        self._database.execute("DELETE FROM versions WHERE id = ?", version_id)
