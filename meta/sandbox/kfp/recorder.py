"""Turns the runner's events into the run's tasks and its ML Metadata, in one transaction each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from meta.sandbox.kfp import runs
from meta.sandbox.kfp.events import (
    ArtifactValue,
    DagFinished,
    DagStarted,
    RunnerEvent,
    TaskAttempt,
    TaskFinished,
    TaskSkipped,
    TaskStarted,
)
from meta.sandbox.kfp.metadata_store import MetadataStore
from meta.sandbox.kfp.pipeline import CompiledPipeline, Json
from meta.sandbox.kfp.runs import RunRecord, RunStore, TaskRecord
from workers.engines.kfp.proto import metadata_store_pb2 as pb

_STATES = {
    "SUCCEEDED": pb.Execution.COMPLETE,
    "CACHED": pb.Execution.CACHED,
    "FAILED": pb.Execution.FAILED,
}


class Recorder:
    """Records one attempt of a run."""

    def __init__(
        self, store: RunStore, metadata: MetadataStore, run: RunRecord, pipeline: CompiledPipeline, pipeline_root: str
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._run = run
        self._pipeline = pipeline
        self._context = metadata.open_run(run.id, pipeline.name, pipeline_root)

    def record(self, event: RunnerEvent) -> None:
        with self._metadata.database.transaction():
            match event:
                case DagStarted():
                    self._dag_started(event)
                case DagFinished():
                    self._dag_finished(event)
                case TaskStarted():
                    self._task_started(event)
                case TaskAttempt():
                    self._task_attempt(event)
                case TaskFinished():
                    self._task_finished(event)
                case TaskSkipped():
                    self._task_skipped(event)
                case _:
                    pass  # questions and the end are the session's

    def _parent(self, path: str) -> int:
        parent = self._store.task(self._run.id, path)
        return parent.execution_id if parent else 0

    def _open(self, path: str, parent: str, name: str, kind: str) -> TaskRecord:
        """The task at a path, started now; a retried attempt takes over the row of the failed one."""
        task = self._store.task(self._run.id, path) or TaskRecord(
            run_id=self._run.id, path=path, parent=parent, name=name, kind=kind, state=runs.RUNNING
        )
        task.state, task.started_at, task.finished_at, task.error = runs.RUNNING, int(time.time()), 0, ""
        task.attempts = ""
        return task

    def _dag_started(self, event: DagStarted) -> None:
        task = self._open(event.path, event.parent, event.task or "root", "dag")
        root = not event.parent
        if not (root and task.execution_id):  # a retry finds the execution run/<id> of the first attempt
            task.execution_id = self._metadata.create_execution(
                self._context,
                kind="dag",
                task=event.task,
                display_name=event.display_name,
                parent=self._parent(event.parent),
                inputs=event.inputs,
                name=f"run/{self._run.id}" if root else "",
                iteration=event.iteration,
                iterations=event.iterations,
                dag=None if root else self._component(event.component).get("dag", {}),
            )
        self._store.save_task(task)

    def _dag_finished(self, event: DagFinished) -> None:
        task = self._store.task(self._run.id, event.path)
        if task is None:
            return
        task.state, task.finished_at = event.state, int(time.time())
        if event.state == runs.FAILED:
            failed = [
                t.name for t in self._store.tasks(self._run.id) if t.parent == task.path and t.state == runs.FAILED
            ]
            task.error = event.error or f"failed: {', '.join(failed) or 'a task of it'}"
        self._store.save_task(task)
        if task.parent:  # the root's stays RUNNING: the launcher counts the tasks of other DAGs only
            self._metadata.finish_execution(task.execution_id, _STATES[event.state])

    def _task_started(self, event: TaskStarted) -> None:
        task = self._open(event.path, event.parent, event.task, event.kind)
        task.execution_id = self._metadata.create_execution(
            self._context,
            kind=event.kind,
            task=event.task,
            display_name="" if event.kind == "importer" else event.display_name,
            parent=self._parent(event.parent),
            inputs=event.inputs,
            iteration=event.iteration,
            pod_name=runs.pod_name(self._run, task.path),
            image=event.image,
        )
        self._store.save_task(task)
        for name, artifacts in event.artifacts.items():
            for artifact in artifacts:
                known = self._metadata.artifact_in_context(self._context, artifact.uri)
                if known:
                    self._metadata.link(task.execution_id, known, name, pb.Event.INPUT)

    def _task_attempt(self, event: TaskAttempt) -> None:
        task = self._store.task(self._run.id, event.path)
        if task is not None:
            earlier = json.loads(task.attempts or "[]")
            task.attempts = json.dumps([*earlier, event.model_dump(exclude={"event", "path"})])
            self._store.save_task(task)

    def _task_finished(self, event: TaskFinished) -> None:
        task = self._store.task(self._run.id, event.path)
        if task is None:
            return
        task.state, task.finished_at, task.error = event.state, int(time.time()), event.error
        task.kept = "" if event.state == runs.FAILED else json.dumps(event.kept)
        self._store.save_task(task)
        if event.state == "FAILED":
            self._metadata.finish_execution(task.execution_id, pb.Execution.FAILED, fingerprint=event.cache_key)
            return
        cached = self._metadata.execution_of_fingerprint(event.cache_key) if event.state == "CACHED" else 0
        known = self._metadata.outputs_of(cached) if cached else {}
        for name, artifacts in event.artifacts.items():
            for place, artifact in enumerate(artifacts):
                ids = known.get(name, [])
                artifact_id = ids[place] if place < len(ids) else self._artifact(task.kind, name, artifact)
                self._metadata.link(task.execution_id, artifact_id, name, pb.Event.OUTPUT)
        self._metadata.finish_execution(
            task.execution_id,
            _STATES[event.state],
            outputs=None if task.kind == "importer" else event.outputs,
            fingerprint=event.cache_key,
            cached_execution=cached,
        )

    def _artifact(self, kind: str, name: str, artifact: ArtifactValue) -> int:
        if kind == "importer":  # without `reimport` the importer takes the artifact that the pipeline knows already
            pipeline = self._metadata.pipeline_of(self._context)
            known = self._metadata.artifact_in_context(pipeline, artifact.uri)
            if known and not self._reimport():
                return known
        return self._metadata.create_artifact(name, artifact.uri, artifact.type, artifact.metadata)

    def _component(self, name: str) -> Json:
        return self._pipeline.spec.get("components", {}).get(name, {})

    def _reimport(self) -> bool:
        deployment: Mapping[str, Any] = self._pipeline.spec.get("deploymentSpec", {})
        executors: Mapping[str, Any] = deployment.get("executors", {})
        return any(executor.get("importer", {}).get("reimport", False) for executor in executors.values())

    def _task_skipped(self, event: TaskSkipped) -> None:
        kept = self._store.task(self._run.id, event.path)
        if kept is not None and kept.kept:
            return
        kind = "dag" if "dag" in self._component(event.component) else "container"
        task = kept or TaskRecord(
            run_id=self._run.id, path=event.path, parent=event.parent, name=event.task, kind=kind, state=event.reason
        )
        task.state, task.error = event.reason, ""
        task.started_at = task.finished_at = int(time.time())
        if event.reason == "SKIPPED":  # the driver writes an execution for what it does not trigger
            task.execution_id = self._metadata.create_execution(
                self._context,
                kind=kind,
                task=event.task,
                display_name=event.display_name,
                parent=self._parent(event.parent),
                inputs={},
                state=pb.Execution.CANCELED,
            )
        self._store.save_task(task)
