"""Routes that servers of the 3.x API have: tasks of a run, artifacts, and which task read or made which artifact.

Source: kubeflow/pipelines, branch mlmd-removal: backend/api/v2beta1/{run,artifact}.proto and
backend/src/apiserver/server/{run_server,artifact_server}.go. Calls that driver and launcher alone make are not there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import listing, rest_artifacts, task_tree, views
from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import doing, invalid_input, not_found
from meta.sandbox.kfp.listing import Listing
from meta.sandbox.kfp.pipeline import Json
from meta.sandbox.kfp.runs import RunRecord
from meta.sandbox.kfp.services import Services, services
from meta.sandbox.kfp.task_tree import Recorded, TaskNode
from workers.engines.kfp.proto import metadata_store_pb2 as pb

# the enums' numbers, which filters and orders go by
_STATES = ("RUNTIME_STATE_UNSPECIFIED", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CACHED")
_TYPES = (
    "TASK_TYPE_UNSPECIFIED", "ROOT", "RUNTIME", "CONDITION_BRANCH", "CONDITION", "LOOP", "EXIT_HANDLER", "IMPORTER",
    "DAG",
)  # fmt: skip
_IO_TYPES = (
    "UNSPECIFIED", "COMPONENT_DEFAULT_INPUT", "TASK_OUTPUT_INPUT", "COMPONENT_INPUT", "RUNTIME_VALUE_INPUT",
    "COLLECTED_INPUTS", "ITERATOR_INPUT", "ITERATOR_INPUT_RAW", "ITERATOR_OUTPUT", "OUTPUT", "ONE_OF_OUTPUT",
    "TASK_FINAL_STATUS_OUTPUT",
)  # fmt: skip
_TASK_KEYS = {
    "name": "name", "display_name": "display_name", "task_id": "id", "run_id": "run_id", "pods": "pods",
    "cache_fingerprint": "cache_fingerprint", "create_time": "create_time", "start_time": "create_time",
    "end_time": "end_time", "status": "state", "status_metadata": "status_metadata", "state_history": "state_history",
    "type": "type", "type_attributes": "type_attributes", "parent_task_id": "parent_task_id", "inputs": "inputs",
    "outputs": "outputs", "scope_path": "scope_path",
}  # fmt: skip
TASKS = Listing("Task", "found", _TASK_KEYS, default="create_time")
LINKS = Listing(
    "ArtifactTask",
    "found",
    {
        "id": "id", "artifact_id": "artifact_id", "task_id": "task_id", "type": "type", "run_id": "run_id",
        "producer": "producer", "key": "key",
    },
    default="id",
)  # fmt: skip


def routes() -> list[Route]:
    base = "/apis/v2beta1"
    return [
        Route(f"{base}/runs/{{run_id}}/tasks", list_tasks, methods=["GET"]),
        Route(f"{base}/runs/{{run_id}}/tasks/{{task_id}}", get_task, methods=["GET"]),
        Route(f"{base}/artifacts", list_artifacts, methods=["GET"]),
        Route(f"{base}/artifacts/{{artifact_id}}", get_artifact, methods=["GET"]),
        Route(f"{base}/artifact_tasks", list_artifact_tasks, methods=["GET"]),
    ]


def tasks_of(server: Services, run: RunRecord) -> list[TaskNode]:
    """The tasks of a run with what they read and made."""
    spec: Json = run.document.get("pipeline_spec", run.document)
    rows = server.runs.tasks(run.id)
    metadata = server.metadata
    executions = {one.id: one for one in metadata.executions([row.execution_id for row in rows if row.execution_id])}
    events = metadata.events("execution_id", list(executions))
    artifacts = rest_artifacts.of_metadata(server.database, [event.artifact_id for event in events])
    read: dict[int, dict[str, list[Json]]] = {number: {} for number in executions}
    made: dict[int, dict[str, list[Json]]] = {number: {} for number in executions}
    for event in events:
        place = made if event.type == pb.Event.OUTPUT else read
        place[event.execution_id].setdefault(event.path.steps[0].key, []).extend(artifacts[event.artifact_id])
    found: list[Recorded] = []
    for row in rows:
        execution = executions.get(row.execution_id)
        if execution is None:
            found.append(Recorded(row))
            continue
        properties = execution.custom_properties
        fingerprint = properties["cache_fingerprint"].string_value if "cache_fingerprint" in properties else ""
        iteration = properties["iteration_index"].int_value if "iteration_index" in properties else None
        iterations = properties["iteration_count"].int_value if "iteration_count" in properties else 0
        found.append(
            Recorded(
                row, iteration, iterations, fingerprint, _struct(execution, "inputs"), _struct(execution, "outputs"),
                read[execution.id], made[execution.id],
            )
        )  # fmt: skip
    return task_tree.build_tree(spec, found)


def _struct(execution: pb.Execution, name: str) -> Json:
    """A struct of the execution; whole numbers are integers, as protojson writes them."""
    if name not in execution.custom_properties:
        return {}
    return MessageToDict(execution.custom_properties[name].struct_value)


def _cells(shown: Json, keys: Sequence[str]) -> list[object]:
    """Values by which a thing is filtered and sorted."""
    return [
        value if isinstance(value, (int, str)) else json.dumps(value, sort_keys=True)
        for value in (shown.get(key, "") for key in keys)
    ]


def _computed(names: Sequence[str], rows: list[list[object]]) -> Database:
    return Database.of_rows("found", names, rows)


async def list_tasks(request: Request) -> Response:
    server, query = services(request), request.query_params
    run_id = str(request.path_params["run_id"])
    with doing("Failed to authorize task listing"):
        run = server.runs.get(run_id)
    parent = query.get("parent_id", "")
    if parent:
        with doing("Failed to get parent task for authorization"):
            _must_belong(server, run_id, parent, "parent_task_id must belong to the same run as run_id")
    nodes = tasks_of(server, run)
    shown = {node.task.id: task_tree.view(run, node) for node in nodes}
    columns = [key for key in _TASK_KEYS.values() if key != "id"]
    names = list(dict.fromkeys(["id", *columns]))
    rows = [
        _cells(
            shown[node.task.id]
            | {
                "id": node.task.id, "create_time": node.task.started_at, "end_time": node.task.finished_at,
                "state": _STATES.index(node.task.state), "type": _TYPES.index(node.kind),
            },
            names,
        )
        for node in nodes
        if not parent or (node.parent is not None and node.parent.task.id == parent)
    ]  # fmt: skip
    with doing("Failed to create list options"):
        page = listing.list_page(_computed(names, rows), TASKS, {**query, "sort_by": query.get("order_by", "")})
    return JSONResponse(views.page("tasks", [shown[row["id"]] for row in page.rows], page))


def _must_belong(server: Services, run_id: str, task_id: str, otherwise: str) -> None:
    row = server.database.row("SELECT run_id FROM tasks WHERE id = ?", task_id)
    if row is None:
        raise not_found("task", task_id)
    if row["run_id"] != run_id:
        raise invalid_input(otherwise)


async def get_task(request: Request) -> Response:
    server = services(request)
    run_id, task_id = str(request.path_params["run_id"]), str(request.path_params["task_id"])
    with doing("Failed to get task"):
        _must_belong(server, run_id, task_id, "Task run_id in path parameter does not match the existing task run_id")
        run = server.runs.get(run_id)
        for node in tasks_of(server, run):
            if node.task.id == task_id:
                return JSONResponse(task_tree.view(run, node))
        raise not_found("task", task_id)  # an iteration, or a task that was never reached: 3.x has none


async def list_artifacts(request: Request) -> Response:
    """All artifacts; `namespace` is taken and means nothing to a server for one user, as on the real one."""
    server = services(request)
    with doing("Failed to create list options"):
        page = listing.list_page(server.database, rest_artifacts.ARTIFACTS, request.query_params)
    return JSONResponse(views.page("artifacts", [rest_artifacts.view(row) for row in page.rows], page))


async def get_artifact(request: Request) -> Response:
    with doing("Failed to get artifact"):
        return JSONResponse(rest_artifacts.get(services(request).database, str(request.path_params["artifact_id"])))


async def list_artifact_tasks(request: Request) -> Response:
    server, query = services(request), request.query_params
    wanted = {name: query.getlist(f"{name}s") for name in ("task_id", "run_id", "artifact_id")}
    for name, values in wanted.items():
        if "" in values:
            raise invalid_input(f"{name}s must not contain empty values")
    if not any(wanted.values()):
        raise invalid_input("At least one filter (task_ids, run_ids, or artifact_ids) is required")
    kind = query.get("type", "UNSPECIFIED")
    kind = _IO_TYPES[int(kind)] if kind.isdigit() and int(kind) < len(_IO_TYPES) else kind
    if kind not in _IO_TYPES:
        raise invalid_input(f'parsing field "type": "{kind}" is not valid')
    shown: dict[str, Json] = {}
    for run_id in _runs_of(server, wanted):
        run = server.runs.get(run_id)
        for node in tasks_of(server, run):
            shown |= {link["id"]: link for link in task_tree.links(run, node)}
    names = ["id", "artifact_id", "task_id", "type", "run_id", "producer", "key"]
    rows = [
        _cells(link | {"type": _IO_TYPES.index(link["type"])}, names)
        for link in shown.values()
        if all(not values or link[name] in values for name, values in wanted.items())
        and kind in ("UNSPECIFIED", link["type"])
    ]
    with doing("Failed to create list options"):
        page = listing.list_page(_computed(names, rows), LINKS, query)
    return JSONResponse(views.page("artifact_tasks", [shown[row["id"]] for row in page.rows], page))


def _runs_of(server: Services, wanted: dict[str, list[str]]) -> set[str]:
    """The runs that can have such links; those that are gone have none."""
    found: list[set[str]] = []
    statements = {
        "run_id": "SELECT id AS run_id FROM runs WHERE id IN ({})",
        "task_id": "SELECT run_id FROM tasks WHERE id IN ({})",
        "artifact_id": "SELECT t.run_id FROM rest_artifacts a JOIN mlmd_events e ON e.artifact_id = a.artifact_id "
        "JOIN tasks t ON t.execution_id = e.execution_id WHERE a.id IN ({})",
    }
    for name, values in wanted.items():
        if values:
            rows = server.database.rows(statements[name].format(", ".join("?" for _ in values)), *values)
            found.append({str(row["run_id"]) for row in rows})
    return set[str].intersection(*found)
