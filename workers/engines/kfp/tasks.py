"""A run's tasks in one form, whichever server told of them, and the pipeline's outputs found among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from workers.engines.json_view import child, children, text
from workers.engines.kfp.ir import Pipeline
from workflows.values import JsonObject, JsonValue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """An artifact as the server recorded it. `uri` is empty for a 3.x metric, which is a number in `metadata`."""

    uri: str
    type: str = ""
    metadata: JsonObject = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task: a container, an importer, or a DAG that holds tasks.

    Attributes:
        id: the server's.
        name: key of the task in its DAG's `tasks`; empty for the root.
        parent: id of the DAG that holds it; empty for the root.
        type: the server's word for its kind.
        state: in the words of RuntimeState.
        iteration: position in a loop; None outside.
        pod: name of the pod that it runs in; empty where it has none, or nobody tells.
        parameters: its output parameters.
        artifacts: its output artifacts; several under a name for a list.
    """

    id: str
    name: str
    parent: str = ""
    type: str = ""
    state: str = ""
    iteration: int | None = None
    cached: bool = False
    pod: str = ""
    message: str = ""
    parameters: JsonObject = field(default_factory=dict[str, JsonValue])
    artifacts: dict[str, list[ArtifactRecord]] = field(default_factory=dict[str, list[ArtifactRecord]])
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PipelineOutputs:
    """The pipeline's declared outputs that the run has made; a branch not taken makes none."""

    parameters: JsonObject
    artifacts: dict[str, list[ArtifactRecord]]


def read_pipeline_outputs(pipeline: Pipeline, tasks: Sequence[TaskRecord]) -> PipelineOutputs:
    """Find the pipeline's declared outputs.

    `root.dag.outputs` of the compiled pipeline names for each output the task, or for a branch the possible tasks,
    that make it. Where the server has already brought them up to the root task (3.x) they are taken from there.
    """
    root = next((task for task in tasks if not task.parent), None)
    if root is None:
        return PipelineOutputs({}, {})
    finder = _Finder(pipeline.spec, tasks)
    dag = child(pipeline.spec, "root", "dag")
    parameters: JsonObject = {}
    for name, kind in pipeline.outputs.items():
        value = root.parameters[name] if name in root.parameters else finder.parameter(dag, root, name)
        if not isinstance(value, _Missing):
            parameters[name] = _as_declared(value, kind)
    artifacts: dict[str, list[ArtifactRecord]] = {}
    for name in pipeline.output_artifacts:
        found = root.artifacts.get(name) or finder.artifacts(dag, root, name)
        if found:
            artifacts[name] = found
    return PipelineOutputs(parameters, artifacts)


class _Missing:
    """No such value: JSON's null is one."""


_MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class _Selector:
    task: str
    key: str


class _Finder:
    """Follows output selectors down through nested DAGs and loops."""

    def __init__(self, spec: JsonObject, tasks: Sequence[TaskRecord]) -> None:
        self._components = child(spec, "components")
        self._tasks = tasks

    def parameter(self, dag: JsonObject, scope: TaskRecord, name: str) -> JsonValue | _Missing:
        """Value of an output parameter of a DAG; of a loop the list of its iterations' values."""
        output = child(dag, "outputs", "parameters", name)
        one = child(output, "valueFromParameter")
        selectors = [one] if one else children(output, "valueFromOneof", "parameterSelectors")
        for selector in selectors:
            wanted = _Selector(text(selector, "producerSubtask"), text(selector, "outputParameterKey"))
            found, loop = self._collect(dag, scope, wanted, self.parameter, _parameter_of)
            values = [value for value in found if not isinstance(value, _Missing)]
            if loop:
                return values
            if values:
                return values[0]
        return _MISSING

    def artifacts(self, dag: JsonObject, scope: TaskRecord, name: str) -> list[ArtifactRecord]:
        """Artifacts under an output name of a DAG; of a loop those of all iterations."""
        for selector in children(dag, "outputs", "artifacts", name, "artifactSelectors"):
            wanted = _Selector(text(selector, "producerSubtask"), text(selector, "outputArtifactKey"))
            found, _ = self._collect(dag, scope, wanted, self.artifacts, _artifacts_of)
            if flat := [artifact for artifacts in found for artifact in artifacts]:
                return flat
        return []

    def _collect(
        self,
        dag: JsonObject,
        scope: TaskRecord,
        wanted: _Selector,
        below: Callable[[JsonObject, TaskRecord, str], T],
        here: Callable[[TaskRecord, str], T],
    ) -> tuple[list[T], bool]:
        """What a subtask of a DAG made, and whether the subtask is a loop, whose iterations come in order."""
        spec = child(dag, "tasks", wanted.task)
        names = {wanted.task, text(spec, "taskInfo", "name")}
        made = [task for task in self._tasks if task.parent == scope.id and task.name in names]
        is_loop = bool(child(spec, "parameterIterator") or child(spec, "artifactIterator"))
        if is_loop:
            loops = {task.id for task in made if task.iteration is None}
            made = [task for task in made if task.iteration is not None]
            made += [task for task in self._tasks if task.parent in loops and task.iteration is not None]
            made.sort(key=lambda task: task.iteration or 0)
        inner = child(self._components, text(spec, "componentRef", "name"), "dag")
        if inner:
            return [below(inner, task, wanted.key) for task in made], is_loop
        return [here(task, wanted.key) for task in made], is_loop


def _parameter_of(task: TaskRecord, key: str) -> JsonValue | _Missing:
    return task.parameters.get(key, _MISSING)


def _artifacts_of(task: TaskRecord, key: str) -> list[ArtifactRecord]:
    return task.artifacts.get(key, [])


def _as_declared(value: JsonValue, kind: str) -> JsonValue:
    """Undo what a protobuf Struct does to numbers, of which it knows one kind."""
    if kind == "NUMBER_DOUBLE" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "LIST" and isinstance(value, list):
        return [int(item) if isinstance(item, float) and item.is_integer() else item for item in value]
    return value
