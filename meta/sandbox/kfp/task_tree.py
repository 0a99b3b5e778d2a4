"""A run's tasks with inputs and outputs, as a server of the 3.x API shows them (message PipelineTask).

Source: kubeflow/pipelines, branch mlmd-removal: backend/src/v2/driver/{root_dag,dag,container}.go and
component/launcher_v2.go (propagateOutputsUpDAG). The driver makes a task for each DAG, container and importer; a loop
is one task, and the tasks of its body stand directly below it, each with the number of its iteration. The launcher
brings a task's outputs up to the tasks around it that declare them, the root included.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meta.sandbox.kfp import runs
from meta.sandbox.kfp.pipeline import Json
from meta.sandbox.kfp.runs import RunRecord, TaskRecord
from meta.sandbox.kfp.views import compact, timestamp

OUTPUT, ITERATOR_OUTPUT, ONE_OF_OUTPUT = "OUTPUT", "ITERATOR_OUTPUT", "ONE_OF_OUTPUT"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A task as stored, with what ML Metadata has of it.

    Attributes:
        task: its row.
        iteration: of a DAG or task that is an iteration of a loop itself; None for others.
        iterations: of a loop, how many it has.
        fingerprint: of the cache.
        inputs: input parameters.
        outputs: output parameters.
        input_artifacts: by name, as the 3.x API shows them.
        output_artifacts: likewise.
    """

    task: TaskRecord
    iteration: int | None = None
    iterations: int = 0
    fingerprint: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    input_artifacts: Mapping[str, Sequence[Json]] = field(default_factory=dict[str, Sequence[Json]])
    output_artifacts: Mapping[str, Sequence[Json]] = field(default_factory=dict[str, Sequence[Json]])


@dataclass(frozen=True, slots=True)
class Io:
    """An input or output: one value, or artifacts under one name."""

    key: str
    kind: str
    value: Any = None
    artifacts: tuple[Json, ...] | None = None
    producer: str = ""
    iteration: int | None = None

    def view(self) -> Json:
        shown: Json = {"type": self.kind}
        if self.artifacts is None:
            shown |= {"parameter_key": self.key, "value": self.value}
        else:
            shown |= {"artifact_key": self.key, "artifacts": list(self.artifacts)}
        if self.producer:
            shown["producer"] = {"task_name": self.producer}
            if self.iteration is not None:
                shown["producer"]["iteration"] = str(self.iteration)  # protojson writes int64 as a string
        return shown


@dataclass(slots=True)
class TaskNode:
    """A task of the tree.

    Attributes:
        spec: how the DAG around it names it (`dag.tasks.<name>`); empty for the root.
        component: what it is.
        iteration: the iteration of the innermost loop around it.
        inputs: its inputs.
        outputs: its outputs, and those that its children brought up.
    """

    record: Recorded
    parent: TaskNode | None
    spec: Json
    component: Json
    iteration: int | None
    children: list[TaskNode] = field(default_factory=list["TaskNode"])
    inputs: list[Io] = field(default_factory=list[Io])
    outputs: list[Io] = field(default_factory=list[Io])

    @property
    def task(self) -> TaskRecord:
        return self.record.task

    @property
    def kind(self) -> str:
        """The enum TaskType."""
        if self.parent is None:
            return "ROOT"
        if self.task.kind != "dag":
            return "IMPORTER" if self.task.kind == "importer" else "RUNTIME"
        if "parameterIterator" in self.spec or "artifactIterator" in self.spec:
            return "LOOP"
        if self.spec.get("triggerPolicy", {}).get("condition"):
            return "CONDITION_BRANCH"
        name = self.task.name
        return "CONDITION" if name.startswith("condition") and not name.startswith("condition-branch") else "DAG"

    @property
    def scope(self) -> str:
        return f"{self.parent.scope}.{self.task.name}" if self.parent else "root"


def count(tasks: Iterable[TaskRecord]) -> int:
    """How many tasks a run has: without the iterations of loops, and without those that were never reached."""
    return sum(
        task.state != "OMITTED" and not (task.kind == "dag" and task.path.rpartition("/")[2].isdigit())
        for task in tasks
    )


def build_tree(spec: Mapping[str, Any], recorded: Iterable[Recorded]) -> list[TaskNode]:
    """The tasks of a run, in the order in which they began.

    Args:
        spec: the IR.
        recorded: its tasks, those above before those below. Tasks that were never reached are not there in 3.x.
    """
    components: Mapping[str, Json] = spec.get("components", {})
    nodes: dict[str, TaskNode] = {}
    inside: dict[str, tuple[TaskNode, int]] = {}  # path of an iteration -> its loop and number
    for one in recorded:
        task = one.task
        if task.state == "OMITTED":
            continue
        parent, iteration = inside.get(task.parent) or (nodes.get(task.parent), None)
        if one.iteration is not None and task.kind == "dag" and parent is not None:
            inside[task.path] = (parent, one.iteration)
            continue
        if parent is None:
            nodes[task.path] = TaskNode(one, None, {}, spec.get("root", {}), None)
            continue
        task_spec: Json = parent.component.get("dag", {}).get("tasks", {}).get(task.name, {})
        component = components.get(task_spec.get("componentRef", {}).get("name", ""), {})
        number = one.iteration if one.iteration is not None else iteration
        node = TaskNode(one, parent, task_spec, component, parent.iteration if number is None else number)
        parent.children.append(node)
        nodes[task.path] = node
    ordered = list(nodes.values())
    for node in ordered:
        node.inputs = _inputs(node)
    for node in reversed(ordered):
        node.outputs = [*_own_outputs(node), *_brought_up(node)]
    return ordered


def _inputs(node: TaskNode) -> list[Io]:
    specs: Json = node.spec.get("inputs", {})
    parameters, artifacts = specs.get("parameters", {}), specs.get("artifacts", {})
    found: list[Io] = []
    for key, value in node.record.inputs.items():
        kind, producer = _source(node, parameters.get(key))
        found.append(Io(key, kind, value=value, producer=producer))
    for key, given in node.record.input_artifacts.items():
        kind, producer = _source(node, artifacts.get(key))
        found.append(Io(key, kind, artifacts=tuple(given), producer=producer))
    return found


def _source(node: TaskNode, spec: Json | None) -> tuple[str, str]:
    """Where an input comes from, and the task that made it."""
    if node.parent is None:
        return "RUNTIME_VALUE_INPUT", "ROOT"
    if spec is None:
        return "COMPONENT_DEFAULT_INPUT", ""
    made = spec.get("taskOutputParameter") or spec.get("taskOutputArtifact")
    if made:
        return "TASK_OUTPUT_INPUT", str(made.get("producerTask", ""))
    return ("RUNTIME_VALUE_INPUT" if "runtimeValue" in spec else "COMPONENT_INPUT"), ""


def _own_outputs(node: TaskNode) -> list[Io]:
    """What the task itself made; in a loop's body with the number of the iteration."""
    if node.task.kind == "dag":
        return []
    kind = OUTPUT if node.iteration is None else ITERATOR_OUTPUT
    name, iteration, record = node.task.name, node.iteration, node.record
    parameters = [Io(k, kind, value=v, producer=name, iteration=iteration) for k, v in record.outputs.items()]
    artifacts = [
        Io(k, kind, artifacts=tuple(found), producer=name, iteration=iteration)
        for k, found in record.output_artifacts.items()
    ]
    return [*parameters, *artifacts]


def _brought_up(node: TaskNode) -> list[Io]:
    """Outputs of the children that this DAG declares as its own, by name and iteration."""
    declared = list(_declared(node.component))
    found: list[Io] = []
    for child in node.children:
        for output in child.outputs:
            for key, is_list, wanted in declared:
                if wanted == (output.artifacts is None, child.task.name, output.key):
                    kind = _kind(node, is_list, output.kind if child.task.kind == "dag" else OUTPUT)
                    iteration = output.iteration if kind == ITERATOR_OUTPUT else None
                    found.append(replace(output, key=key, kind=kind, producer=child.task.name, iteration=iteration))
    return sorted(found, key=lambda io: (io.key, io.iteration or 0))


def _kind(node: TaskNode, is_list: bool, current: str) -> str:
    if node.kind == "LOOP":
        return ITERATOR_OUTPUT
    return ONE_OF_OUTPUT if node.kind == "CONDITION_BRANCH" and not is_list else current


def _declared(component: Json) -> Iterable[tuple[str, bool, tuple[bool, str, str]]]:
    """Outputs of a DAG: name, whether it is a list, and (is a parameter, task, output) of each that may make it."""
    outputs: Json = component.get("dag", {}).get("outputs", {})
    types: Json = component.get("outputDefinitions", {})
    for key, source in outputs.get("parameters", {}).items():
        is_list = types.get("parameters", {}).get(key, {}).get("parameterType") == "LIST"
        one = source.get("valueFromParameter")
        for selector in [one] if one else source.get("valueFromOneof", {}).get("parameterSelectors", []):
            yield key, is_list, (True, selector.get("producerSubtask", ""), selector.get("outputParameterKey", ""))
    for key, source in outputs.get("artifacts", {}).items():
        is_list = bool(types.get("artifacts", {}).get(key, {}).get("isArtifactList", False))
        for selector in source.get("artifactSelectors", []):
            yield key, is_list, (False, selector.get("producerSubtask", ""), selector.get("outputArtifactKey", ""))


_DISPLAY = {"LOOP": "Loop", "CONDITION_BRANCH": "Condition Branch", "CONDITION": "Condition"}


def view(run: RunRecord, node: TaskNode) -> Json:
    """The message PipelineTask."""
    task, kind = node.task, node.kind
    shown = compact(
        {
            "name": task.name if node.parent else "ROOT",
            "display_name": _DISPLAY.get(kind, node.spec.get("taskInfo", {}).get("name", ""))
            if node.parent
            else run.display_name,
            "task_id": task.id,
            "run_id": run.id,
            "pods": _pods(run, node),
            "cache_fingerprint": node.record.fingerprint,
            "create_time": timestamp(task.started_at),
            "end_time": timestamp(task.finished_at) if task.finished_at else "",
            "state": task.state,
            "status_metadata": compact({"message": task.error}),
            "state_history": [
                {"update_time": timestamp(at), "state": state}
                for at, state in ((task.started_at, runs.RUNNING), (task.finished_at, task.state))
                if at and (state != runs.RUNNING or at == task.started_at)
            ],
            "type": kind,
            "parent_task_id": node.parent.task.id if node.parent else "",
            "child_tasks": [{"task_id": child.task.id, "name": child.task.name} for child in node.children],
            "scope_path": node.scope,
        }
    )
    attributes: Json = {}
    if node.iteration is not None:
        attributes["iteration_index"] = str(node.iteration)
    if kind == "LOOP":
        attributes["iteration_count"] = str(node.record.iterations)
    if attributes or node.parent is None:
        shown["type_attributes"] = attributes
    return shown | {"inputs": _io(node.inputs), "outputs": _io(node.outputs)}


def _io(found: Sequence[Io]) -> Json:
    return compact(
        {
            "parameters": [one.view() for one in found if one.artifacts is None],
            "artifacts": [one.view() for one in found if one.artifacts is not None],
        }
    )


def _pods(run: RunRecord, node: TaskNode) -> list[Json]:
    task = node.task
    pods = [{"name": runs.node_id(run, f"{task.path}-driver"), "type": "DRIVER"}] if task.kind != "importer" else []
    if task.kind == "importer" or (task.kind == "container" and task.state not in ("CACHED", "SKIPPED")):
        pods.append({"name": runs.pod_name(run, task.path), "type": "EXECUTOR"})
    return pods


def links(run: RunRecord, node: TaskNode) -> list[Json]:
    """The task's artifacts as messages ArtifactTask."""
    return [
        {
            "id": str(uuid.uuid5(uuid.UUID(task_id), f"{io.kind} {io.key} {artifact['artifact_id']} {io.iteration}")),
            "artifact_id": artifact["artifact_id"], "run_id": run.id, "task_id": task_id, "type": io.kind,
            "key": io.key, **{key: value for key, value in io.view().items() if key == "producer"},
        }
        for task_id in (node.task.id,)
        for io in (*node.inputs, *node.outputs)
        for artifact in io.artifacts or ()
    ]  # fmt: skip
