"""What a run leaves in ML Metadata, written as the real driver, launcher and importer write it.

Source: kubeflow/pipelines, backend/src/v2/{metadata/client.go,driver,component}. The names of custom properties, types
and contexts are the protocol between KFP and its clients.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, cast

from google.protobuf import struct_pb2

from meta.sandbox.kfp import rest_artifacts
from meta.sandbox.kfp.database import Database
from workers.engines.kfp.proto import metadata_store_pb2 as pb

PIPELINE, PIPELINE_RUN = "system.Pipeline", "system.PipelineRun"
CONTAINER, DAG, IMPORTER = "system.ContainerExecution", "system.DAGExecution", "system.ImporterExecution"
_EXECUTION_TYPES = {"container": CONTAINER, "dag": DAG, "importer": IMPORTER}


class MetadataStore:
    """Contexts, executions, artifacts and events in the database, as protobuf messages."""

    def __init__(self, database: Database, session_info: Mapping[str, object], namespace: str) -> None:
        self.database = database
        self._session_info = json.dumps(session_info)
        self._namespace = namespace

    # -- writing

    def type_id(self, kind: str, name: str) -> int:
        """The id of an artifact, context or execution type; made when it is new."""
        row = self.database.row("SELECT id FROM mlmd_types WHERE kind = ? AND name = ?", kind, name)
        if row is not None:
            return int(row["id"])
        return self.database.execute("INSERT INTO mlmd_types (kind, name) VALUES (?, ?)", kind, name)

    def open_run(self, run_id: str, pipeline: str, pipeline_root: str) -> int:
        """Make the contexts of a run, or find them.

        Args:
            run_id: names the context of type system.PipelineRun.
            pipeline: names the context of type system.Pipeline, which all its runs share.
            pipeline_root: of this run, with the pipeline's name and the run's id.

        Returns:
            The id of the run's context.
        """
        parent = self._context(PIPELINE, pipeline, {}, 0)
        properties = {
            "namespace": self._namespace,
            "resource_name": "run-resource",
            "pipeline_root": pipeline_root,
            "store_session_info": self._session_info,
        }
        return self._context(PIPELINE_RUN, run_id, properties, parent)

    def _context(self, type_name: str, name: str, properties: Mapping[str, str], parent: int) -> int:
        known = self.context(type_name, name)
        if known is not None:
            return known.id
        type_id = self.type_id("context", type_name)
        number = self.database.execute(
            "INSERT INTO mlmd_contexts (type_id, name, parent, message) VALUES (?, ?, ?, ?)", type_id, name, parent, b""
        )
        context = pb.Context(id=number, type_id=type_id, name=name, type=type_name)
        context.create_time_since_epoch = context.last_update_time_since_epoch = _now_ms()
        for key, value in properties.items():
            context.custom_properties[key].string_value = value
        self.database.execute(
            "UPDATE mlmd_contexts SET message = ? WHERE id = ?", context.SerializeToString(), context.id
        )
        return context.id

    def create_execution(
        self,
        run_context: int,
        *,
        kind: str,
        task: str,
        display_name: str,
        parent: int,
        inputs: Mapping[str, Any],
        state: pb.Execution.State.ValueType = pb.Execution.RUNNING,
        name: str = "",
        iteration: int | None = None,
        iterations: int | None = None,
        pod_name: str = "",
        image: str = "",
        dag: Mapping[str, Any] | None = None,
    ) -> int:
        """Write an execution, as the driver does before the task runs.

        Args:
            run_context: of the run.
            kind: container, dag or importer.
            task: the task's name in the IR.
            display_name: `taskInfo.name`.
            parent: execution of the DAG that it is in; 0 for the root.
            inputs: input parameters.
            state: CANCELED for what is not triggered.
            name: unique among executions; empty for none.
            iteration: index in a loop.
            iterations: of a loop, how many it has.
            pod_name: of a container.
            image: of a container.
            dag: of a DAG that is not the root, its specification in the IR.

        Returns:
            Its id.
        """
        type_name = _EXECUTION_TYPES[kind]
        execution = pb.Execution(type_id=self.type_id("execution", type_name), type=type_name, last_known_state=state)
        if name:
            execution.name = name
        properties = execution.custom_properties
        properties["display_name"].string_value = display_name
        properties["task_name"].string_value = task
        if parent:
            properties["parent_dag_id"].int_value = parent
        if iteration is not None:
            properties["iteration_index"].int_value = iteration
        if iterations is not None:
            properties["iteration_count"].int_value = iterations
        if dag is not None:
            properties["total_dag_tasks"].int_value = len(dag.get("tasks", {}))
            _set_producers(properties, dag.get("outputs", {}))
        if kind == "container":
            properties["pod_name"].string_value = pod_name
            properties["pod_uid"].string_value = ""
            properties["namespace"].string_value = self._namespace
            properties["image"].string_value = image
        if kind != "importer":  # the importer writes none
            properties["inputs"].struct_value.CopyFrom(_struct(inputs))
        execution.create_time_since_epoch = execution.last_update_time_since_epoch = _now_ms()
        execution.id = self.database.execute(
            "INSERT INTO mlmd_executions (run_context, pipeline_context, fingerprint, message) VALUES (?, ?, '', ?)",
            run_context,
            self.pipeline_of(run_context),
            b"",
        )
        self._save(execution)
        return execution.id

    def finish_execution(
        self,
        execution_id: int,
        state: pb.Execution.State.ValueType,
        *,
        outputs: Mapping[str, Any] | None = None,
        fingerprint: str = "",
        cached_execution: int = 0,
    ) -> None:
        """Write how an execution ended, as the launcher does (the driver, when the cache served it)."""
        execution = self.executions([execution_id])[0]
        execution.last_known_state = state
        execution.last_update_time_since_epoch = _now_ms()
        if outputs is not None:
            execution.custom_properties["outputs"].struct_value.CopyFrom(_struct(outputs))
        if fingerprint:
            execution.custom_properties["cache_fingerprint"].string_value = fingerprint
        if cached_execution:
            execution.custom_properties["cached_execution_id"].string_value = str(cached_execution)
        self._save(execution)
        if fingerprint and state == pb.Execution.COMPLETE:
            self.database.execute("UPDATE mlmd_executions SET fingerprint = ? WHERE id = ?", fingerprint, execution_id)

    def execution_of_fingerprint(self, fingerprint: str) -> int:
        """The latest execution that a cache entry can stand for; 0 when there is none."""
        row = self.database.row("SELECT max(id) AS id FROM mlmd_executions WHERE fingerprint = ?", fingerprint)
        return int(row["id"] or 0) if row else 0

    def artifact_in_context(self, context_id: int, uri: str) -> int:
        """The artifact at a URI that a run or a pipeline knows; 0 when there is none."""
        row = self.database.row(
            "SELECT max(a.id) AS id FROM mlmd_artifacts a JOIN mlmd_attributions x ON x.artifact_id = a.id "
            "WHERE x.context_id = ? AND a.uri = ?",
            context_id,
            uri,
        )
        return int(row["id"] or 0) if row else 0

    def outputs_of(self, execution_id: int) -> dict[str, list[int]]:
        """The artifacts that an execution made, by the name of its output."""
        found: dict[str, list[int]] = {}
        for event in self.events("execution_id", [execution_id]):
            if event.type == pb.Event.OUTPUT and event.path.steps:
                found.setdefault(event.path.steps[0].key, []).append(event.artifact_id)
        return found

    def pipeline_of(self, run_context: int) -> int:
        """The pipeline's context of a run's context."""
        row = self.database.row("SELECT parent FROM mlmd_contexts WHERE id = ?", run_context)
        return int(row["parent"]) if row else 0

    def create_artifact(self, name: str, uri: str, type_name: str, metadata: Mapping[str, Any]) -> int:
        """Write an artifact.

        Args:
            name: of the task's output, for its display name.
            uri: where it is.
            type_name: schema title, as system.Model.
            metadata: becomes custom properties: numbers as doubles, booleans as 0 and 1, lists and objects in a struct.
        """
        artifact = pb.Artifact(uri=uri, type=type_name, state=pb.Artifact.LIVE)
        artifact.type_id = self.type_id("artifact", type_name)
        for key, value in metadata.items():
            _set_property(artifact.custom_properties[key], value)
        if "display_name" not in metadata:
            artifact.custom_properties["display_name"].string_value = name
        artifact.custom_properties["store_session_info"].string_value = self._session_info
        artifact.create_time_since_epoch = artifact.last_update_time_since_epoch = _now_ms()
        artifact.id = self.database.execute("INSERT INTO mlmd_artifacts (uri, message) VALUES (?, ?)", uri, b"")
        self.database.execute(
            "UPDATE mlmd_artifacts SET message = ? WHERE id = ?", artifact.SerializeToString(), artifact.id
        )
        rest_artifacts.record(
            self.database, artifact.id, name=name, uri=uri, type_name=type_name, metadata=metadata,
            namespace=self._namespace, created_at=artifact.create_time_since_epoch // 1000,
        )  # fmt: skip
        return artifact.id

    def link(self, execution_id: int, artifact_id: int, name: str, kind: pb.Event.Type.ValueType) -> None:
        """Say that an execution read or made an artifact under a name."""
        event = pb.Event(artifact_id=artifact_id, execution_id=execution_id, type=kind)
        event.path.steps.add().key = name
        event.milliseconds_since_epoch = _now_ms()
        self.database.execute(
            "INSERT INTO mlmd_events (execution_id, artifact_id, message) VALUES (?, ?, ?)",
            execution_id,
            artifact_id,
            event.SerializeToString(),
        )
        row = self.database.row("SELECT run_context, pipeline_context FROM mlmd_executions WHERE id = ?", execution_id)
        if row is not None and kind == pb.Event.OUTPUT:  # publishing outputs adds them to the execution's contexts
            for context in (row["run_context"], row["pipeline_context"]):
                self.database.execute(
                    "INSERT OR IGNORE INTO mlmd_attributions (context_id, artifact_id) VALUES (?, ?)",
                    context,
                    artifact_id,
                )

    def _save(self, execution: pb.Execution) -> None:
        self.database.execute(
            "UPDATE mlmd_executions SET message = ? WHERE id = ?", execution.SerializeToString(), execution.id
        )

    # -- reading

    def context(self, type_name: str, name: str) -> pb.Context | None:
        row = self.database.row(
            "SELECT message FROM mlmd_contexts WHERE type_id = ? AND name = ?", self.type_id("context", type_name), name
        )
        return None if row is None else pb.Context.FromString(row["message"])

    def executions(self, ids: Sequence[int]) -> list[pb.Execution]:
        rows = self.database.rows(f"SELECT message FROM mlmd_executions WHERE id IN ({_marks(ids)}) ORDER BY id", *ids)
        return [pb.Execution.FromString(row["message"]) for row in rows]

    def artifacts(self, ids: Sequence[int]) -> list[pb.Artifact]:
        rows = self.database.rows(f"SELECT message FROM mlmd_artifacts WHERE id IN ({_marks(ids)}) ORDER BY id", *ids)
        return [pb.Artifact.FromString(row["message"]) for row in rows]

    def events(self, column: str, ids: Sequence[int]) -> list[pb.Event]:
        """Events by `execution_id` or by `artifact_id`, oldest first."""
        rows = self.database.rows(
            f"SELECT message FROM mlmd_events WHERE {column} IN ({_marks(ids)}) ORDER BY number", *ids
        )
        return [pb.Event.FromString(row["message"]) for row in rows]


def _marks(ids: Sequence[int]) -> str:
    return ", ".join("?" for _ in ids)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(dict(values))
    return struct


def _set_property(target: pb.Value, value: object) -> None:
    if isinstance(value, bool):
        target.int_value = int(value)
    elif isinstance(value, (int, float)):
        target.double_value = float(value)
    elif isinstance(value, list):
        target.struct_value.update({"list": cast("list[Any]", value)})
    elif isinstance(value, dict):
        target.struct_value.update({"struct": cast("dict[str, Any]", value)})
    else:
        target.string_value = str(value)


def _set_producers(properties: MutableMapping[str, pb.Value], outputs: Mapping[str, Any]) -> None:
    """Where a DAG's outputs come from: parameters as JSON texts in a struct, artifacts as one JSON text."""
    if "parameters" in outputs:
        producers = {name: json.dumps(spec) for name, spec in outputs["parameters"].items()}
        properties["parameter_producer_task"].struct_value.CopyFrom(_struct(producers))
    if "artifacts" in outputs:
        selectors = {
            name: {
                "artifact_selectors": [
                    {
                        "producer_subtask": selector.get("producerSubtask", ""),
                        "output_artifact_key": selector.get("outputArtifactKey", ""),
                    }
                    for selector in spec.get("artifactSelectors", [])
                ]
            }
            for name, spec in outputs["artifacts"].items()
        }
        properties["artifact_producer_task"].string_value = json.dumps(selectors)
