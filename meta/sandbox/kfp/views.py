"""Records as the API shows them: protojson with the proto's own names, empty fields left out.

Source: kubeflow/pipelines, server/api_converter.go. Times have whole seconds; what has not ended ends at the epoch.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any

from meta.sandbox.kfp import runs
from meta.sandbox.kfp.listing import Page
from meta.sandbox.kfp.pipeline import Json
from meta.sandbox.kfp.runs import RunRecord, TaskRecord

_FAILED_CODE = 13  # google.rpc.Code.INTERNAL
_TASK_STATES = {"CACHED": runs.SUCCEEDED, "OMITTED": runs.UNSPECIFIED}


def timestamp(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def compact(fields: Json) -> Json:
    """Without the fields that have the empty value of their type, as protojson leaves them out."""
    return {key: value for key, value in fields.items() if value not in ("", None, [], {}, 0)}


def page(name: str, rows: list[Json], found: Page) -> Json:
    """The answer of a list call."""
    return compact({name: rows, "total_size": found.total_size, "next_page_token": found.next_page_token})


def experiment(row: sqlite3.Row) -> Json:
    return compact(
        {
            "experiment_id": row["id"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": timestamp(row["created_at"]),
            "last_run_created_at": timestamp(row["last_run_created_at"]),
            "namespace": row["namespace"],
            "storage_state": row["storage_state"],
        }
    )


def pipeline(row: sqlite3.Row) -> Json:
    return compact(
        {
            "pipeline_id": row["id"],
            "name": row["name"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": timestamp(row["created_at"]),
            "tags": json.loads(row["tags"]),
        }
    )


def version(row: sqlite3.Row) -> Json:
    return compact(
        {
            "pipeline_id": row["pipeline_id"],
            "pipeline_version_id": row["id"],
            "name": row["name"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": timestamp(row["created_at"]),
            "pipeline_spec": json.loads(row["document"]),
            "tags": json.loads(row["tags"]),
        }
    )


def run(record: RunRecord) -> Json:
    """A run, without its tasks."""
    fields: Json = {
        "experiment_id": record.experiment_id,
        "run_id": record.id,
        "display_name": record.display_name,
        "storage_state": record.storage_state,
        "description": record.description,
        "service_account": record.service_account,
        "runtime_config": compact({"parameters": record.parameters, "pipeline_root": record.pipeline_root}),
        "created_at": timestamp(record.created_at),
        "scheduled_at": timestamp(record.scheduled_at),
        "finished_at": timestamp(record.finished_at),
        "state": record.state,
        "error": _status(record.error),
        "state_history": [
            compact(
                {
                    "update_time": timestamp(entry["update_time"]),
                    "state": entry["state"],
                    "error": _status(entry.get("error", "")) or _note(entry.get("note", "")),
                }
            )
            for entry in record.state_history
        ],
    }
    if record.version_id:
        fields["pipeline_version_reference"] = compact(
            {"pipeline_id": record.pipeline_id, "pipeline_version_id": record.version_id}
        )
    else:
        fields["pipeline_spec"] = record.document
    return compact(fields)


def run_details(record: RunRecord, tasks: Sequence[TaskRecord], contexts: tuple[int, int]) -> Json:
    """What a server of 2.x says of a run's tasks.

    Args:
        record: the run.
        tasks: its tasks.
        contexts: ids of the ML Metadata contexts of its pipeline and of itself; zeros before it has any.
    """
    return compact(
        {
            "pipeline_context_id": str(contexts[0]) if contexts[0] else "",  # protojson writes int64 as a string
            "pipeline_run_context_id": str(contexts[1]) if contexts[1] else "",
            "task_details": task_details(record, tasks),
        }
    )


def _note(fields: str) -> Json | None:
    """What the sandbox does not do for a run, where any client sees it: a status of the first state, of code OK."""
    return {"message": f"not enforced by the sandbox: {fields}"} if fields else None


def _status(message: str) -> Json | None:
    return {"code": _FAILED_CODE, "message": message} if message else None


def task_details(record: RunRecord, tasks: Sequence[TaskRecord]) -> list[Json]:
    """The tasks of a run, with the nodes that a real server shows around each.

    A real server lists the nodes of its Argo Workflow: the workflow itself, and for each task a `<task>-driver`
    and the task; below a container task an `executor`, which is skipped when the cache served the task. An importer
    has neither driver nor executor.
    """
    if not tasks:
        return []
    by_path = {task.path: task for task in tasks}
    children: dict[str, list[str]] = {}
    for task in tasks:
        if task.parent:
            children.setdefault(task.parent, []).extend(_nodes_of(record, task))
    details = [_workflow(record, by_path.get("root"))]
    for task in tasks:
        parent = by_path.get(task.parent)
        above = parent.id if parent else _derived(record.id, "workflow")
        if task.kind != "importer":
            details.append(_driver(record, task, above))
        below = [runs.pod_name(record, task.path)] if _has_executor(task) else children.get(task.path, [])
        details.append(_task(record, task, above, below))
        if _has_executor(task):
            details.append(_executor(record, task))
            details += _attempts(record, task)
    return details


def _has_executor(task: TaskRecord) -> bool:
    return task.kind == "container" and task.state not in ("SKIPPED", "OMITTED")


def _nodes_of(record: RunRecord, task: TaskRecord) -> list[str]:
    driver = [] if task.kind == "importer" else [runs.node_id(record, f"{task.path}-driver")]
    return [*driver, runs.node_id(record, task.path)]


def _detail(record: RunRecord, **fields: Any) -> Json:
    times = {name: timestamp(fields.pop(name)) for name in ("create_time", "start_time", "end_time")}
    nodes: list[str] = fields.pop("below", [])
    error: str = fields.pop("error", "")
    detail = {"run_id": record.id, **fields, **times, "error": _status(error)}
    detail["child_tasks"] = [{"pod_name": node} for node in nodes]
    return compact(detail)


def _workflow(record: RunRecord, root: TaskRecord | None) -> Json:
    state = record.state if record.state != runs.CANCELING else runs.RUNNING
    return _detail(
        record, task_id=_derived(record.id, "workflow"), display_name=record.workflow, state=state,
        create_time=record.created_at, start_time=root.started_at if root else 0, end_time=record.finished_at,
        below=[runs.node_id(record, "root-driver"), runs.node_id(record, "root")],
    )  # fmt: skip


def _driver(record: RunRecord, task: TaskRecord, above: str) -> Json:
    state = runs.UNSPECIFIED if task.state == "OMITTED" else runs.SUCCEEDED
    return _detail(
        record, task_id=_derived(task.id, "driver"), display_name=f"{task.name}-driver", state=state,
        create_time=record.created_at, start_time=task.started_at, end_time=task.started_at, parent_task_id=above,
    )  # fmt: skip


def _task(record: RunRecord, task: TaskRecord, above: str, below: list[str]) -> Json:
    return _detail(
        record, task_id=task.id, display_name=task.name, state=_TASK_STATES.get(task.state, task.state),
        create_time=record.created_at, start_time=task.started_at, end_time=task.finished_at, error=task.error,
        execution_id=str(task.execution_id) if task.execution_id else "", parent_task_id=above, below=below,
    )  # fmt: skip


def _executor(record: RunRecord, task: TaskRecord) -> Json:
    return _detail(
        record, task_id=_derived(task.id, "executor"), display_name="executor",
        state=runs.SKIPPED if task.state == "CACHED" else task.state,
        create_time=record.created_at, start_time=task.started_at, end_time=task.finished_at, error=task.error,
        parent_task_id=task.id,
        below=[runs.node_id(record, f"{task.path}/executor({number})") for number in range(len(_attempts_of(task)))],
    )  # fmt: skip


def _attempts_of(task: TaskRecord) -> list[Json]:
    return json.loads(task.attempts or "[]")


def _attempts(record: RunRecord, task: TaskRecord) -> list[Json]:
    """The pods below an executor with a retry policy, which is a node of Argo's type Retry then."""
    return [
        _detail(
            record, task_id=_derived(task.id, f"executor({number})"), display_name=f"executor({number})",
            state=one["state"], create_time=record.created_at, start_time=one["started_at"],
            end_time=one["finished_at"], error=one["error"], parent_task_id=_derived(task.id, "executor"),
        )
        for number, one in enumerate(_attempts_of(task))
    ]  # fmt: skip


def facts(record: RunRecord) -> dict[str, str]:
    """What the placeholders of a pipeline stand for in this run (driver/resolve.go, resolveInputParameter)."""
    return {
        "{{$.pipeline_job_name}}": record.display_name,
        "{{$.pipeline_job_resource_name}}": record.workflow,
        "{{$.pipeline_job_uuid}}": record.id,
        "{{$.pipeline_job_create_time_utc}}": timestamp(record.created_at),
        "{{$.pipeline_job_schedule_time_utc}}": timestamp(record.scheduled_at),
        "service account": record.service_account,
    }


def _derived(of: str, what: str) -> str:
    return str(uuid.uuid5(uuid.UUID(of), what))
