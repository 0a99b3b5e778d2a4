"""Reads what a run produced over REST, from KFP servers of 3.x, which have no ML Metadata beside them.

`GET /apis/v2beta1/runs/{run_id}/tasks` (message PipelineTask): each task with its outputs; the launcher brings a
nested task's outputs up to the tasks that hold it, the root task included. `GET /apis/v2beta1/artifacts/{id}` fills in
an artifact that is given by id alone.
"""

from __future__ import annotations

from workers.engines.json_view import child, children, moment, text
from workers.engines.kfp.client import KfpClient
from workers.engines.kfp.tasks import ArtifactRecord, TaskRecord
from workflows.values import JsonObject, JsonValue

_TYPES = {
    "Metric": "system.Metrics",
    "ClassificationMetric": "system.ClassificationMetrics",
    "SlicedClassificationMetric": "system.SlicedClassificationMetrics",
}


async def read_tasks(client: KfpClient, run_id: str) -> list[TaskRecord] | None:
    """All tasks of a run with their outputs; None from a server that has no such path.

    Raises:
        ApiUnavailable: the server does not answer.
    """
    found = await client.tasks(run_id)
    return None if found is None else [await _task(client, task) for task in found]


async def _task(client: KfpClient, task: JsonObject) -> TaskRecord:
    state = text(task, "state")
    index: JsonValue = child(task, "type_attributes").get("iteration_index")
    artifacts: dict[str, list[ArtifactRecord]] = {}
    for output in children(task, "outputs", "artifacts"):
        given = [await _complete(client, artifact) for artifact in children(output, "artifacts")]
        artifacts.setdefault(text(output, "artifact_key"), []).extend(_records(given))
    return TaskRecord(
        id=text(task, "task_id"),
        name="" if text(task, "type") == "ROOT" else text(task, "name"),
        parent=text(task, "parent_task_id"),
        type=text(task, "type"),
        state="SUCCEEDED" if state == "CACHED" else state,
        iteration=int(index) if isinstance(index, str | int | float) else None,
        cached=state == "CACHED",
        pod=next((text(pod, "name") for pod in children(task, "pods") if text(pod, "type") == "EXECUTOR"), ""),
        message=text(task, "status_metadata", "message"),
        parameters=_parameters(children(task, "outputs", "parameters"), index),
        artifacts=artifacts,
        started_at=moment(task.get("create_time")),
        finished_at=moment(task.get("end_time")),
    )


def _parameters(outputs: list[JsonObject], iteration: JsonValue) -> JsonObject:
    """Values by key. Those of a loop make a list in the order of its iterations, also when there was only one."""
    values: dict[str, list[JsonObject]] = {}
    for output in outputs:
        values.setdefault(text(output, "parameter_key"), []).append(output)
    found: JsonObject = {}
    for key, given in values.items():
        ordered = [output.get("value") for output in sorted(given, key=_iteration)]
        # a task in a loop's body marks its own values with the iteration too
        collected = text(given[0], "type") == "ITERATOR_OUTPUT" and iteration is None
        found[key] = ordered if collected or len(ordered) > 1 else ordered[0]
    return found


def _iteration(output: JsonObject) -> int:
    return int(text(output, "producer", "iteration") or 0)


async def _complete(client: KfpClient, artifact: JsonObject) -> JsonObject:
    artifact_id = text(artifact, "artifact_id")
    if artifact_id and "uri" not in artifact and "number_value" not in artifact:
        return await client.artifact(artifact_id) or artifact
    return artifact


def _records(artifacts: list[JsonObject]) -> list[ArtifactRecord]:
    """Artifacts of one output; metrics, each a number of its own here, are one artifact with several numbers."""
    metrics: JsonObject = {}
    records: list[ArtifactRecord] = []
    for artifact in artifacts:
        if "number_value" in artifact and not text(artifact, "uri"):
            metrics[text(artifact, "name")] = artifact["number_value"]
            continue
        kind = text(artifact, "type")
        records.append(
            ArtifactRecord(
                uri=text(artifact, "uri"),
                type=_TYPES.get(kind, f"system.{kind}" if kind else ""),
                metadata=child(artifact, "metadata"),
            )
        )
    if metrics:
        records.append(ArtifactRecord(uri="", type=_TYPES["Metric"], metadata=metrics))
    return records
