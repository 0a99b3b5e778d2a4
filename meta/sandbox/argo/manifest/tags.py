"""Which tags of a template stand for something (validate.go, resolveAllVariables); the others refuse the manifest.

A tag whose name begins with nothing of Argo's is somebody else's (`{{user.name}}` of a text template): it stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.expressions import ExpressionError, check_expression
from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.operator.depends import ancestors, dependencies, depends_logic
from meta.sandbox.argo.operator.operation import CREATION_FORMATS
from meta.sandbox.argo.operator.tags import find_tags
from meta.sandbox.argo.operator.templates import calls_of

_CHECKED = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
_FIXED = frozenset(
    {"item", "pod.name", "node.name", "steps.name", "tasks.name", "retries", "workflow.name", "workflow.namespace",
     "workflow.uid", "workflow.mainEntrypoint", "workflow.serviceAccountName", "workflow.parameters",
     "workflow.parameters.json", "workflow.labels", "workflow.labels.json", "workflow.annotations",
     "workflow.annotations.json", "workflow.creationTimestamp", "workflow.creationTimestamp.RFC3339",
     "workflow.creationTimestamp.s", "workflow.priority", "workflow.scheduledTime", "workflow.status",
     "workflow.failures", "workflow.duration", *(f"workflow.creationTimestamp.{c}" for c in CREATION_FORMATS)}
)  # fmt: skip
_OPEN = frozenset({"lastRetry.", "workflow.outputs.", "workflow.labels.", "workflow.annotations.", "outputs."})
Call = m.WorkflowStep | m.DAGTask
Find = Callable[[Call], m.Template | None]


@dataclass(frozen=True)
class TagScope:
    """What the tags at one place can name.

    Attributes:
        names: whole names.
        open: beginnings of names of which anything may follow.
    """

    names: frozenset[str] = _FIXED
    open: frozenset[str] = _OPEN

    def __or__(self, other: TagScope) -> TagScope:
        return TagScope(self.names | other.names, self.open | other.open)

    def knows(self, name: str) -> bool:
        return name in self.names or name.startswith(tuple(self.open))

    def check(self, place: str, text: str) -> None:
        """Check the tags of a JSON text.

        Raises:
            ManifestError: one of them stands for nothing.
        """
        for tag in find_tags(text):
            if tag.startswith("="):
                names = _read_by(place, tag)
            else:
                names = [tag] if tag.startswith(_CHECKED) else []
            if not all(map(self.knows, names)):
                raise ManifestError(f"{place} failed to resolve {{{{{tag}}}}}")


def template_scope(template: m.Template, spec: m.WorkflowSpec, *, more_parameters: bool) -> TagScope:
    """What a template sees before its calls: its inputs and the workflow's parameters.

    Args:
        template: the template.
        spec: the workflow's spec.
        more_parameters: whether whoever uses the spec may bring parameters of its own.
    """
    inputs = template.inputs or m.Inputs()
    names = {f"workflow.parameters.{p.name}" for p in (spec.arguments.parameters if spec.arguments else None) or []}
    names |= {f"inputs.parameters.{p.name}" for p in inputs.parameters or []}
    names |= {"inputs.parameters"} if inputs.parameters else set()
    for artifact in inputs.artifacts or []:
        names |= {f"inputs.artifacts.{artifact.name}", f"inputs.artifacts.{artifact.name}.path"}
    opened = {"workflow.parameters."} if more_parameters else set[str]()
    return TagScope(_FIXED | names, _OPEN | opened)


def calls_scope(template: m.Template, find: Find) -> TagScope:
    """All that a template's calls could see of one another and of their items: for what is written in place in one."""
    scope = TagScope(open=_OPEN | {"item."})
    for call in calls_of(template):
        scope |= _outputs(call, find(call), status=True)
    return scope


@dataclass
class TagCheck:
    """Checks the tags of one template, its calls in the order in which the controller meets them."""

    place: str
    template: m.Template
    scope: TagScope
    find: Find
    _all: TagScope = field(default_factory=TagScope)

    def run(self) -> None:
        """Check them.

        Raises:
            ManifestError: a tag stands for nothing, or for a task that need not have run.
        """
        if self.template.steps is not None:
            self._steps(self.template.steps)
        elif self.template.dag is not None:
            self._dag(self.template.dag)
        rest = self.template.model_copy(update={"steps": None, "dag": None})
        place = f"{self.place}.outputs" if calls_of(self.template) else f"{self.place}:"
        (self.scope | self._all).check(place, _json(rest))

    def _steps(self, groups: list[m.ParallelSteps]) -> None:
        for step in (step for group in groups for step in group.root):
            outputs = _outputs(step, self.find(step), status=True)
            self._all |= _items(step)  # as there, what follows sees them too
            scope = self.scope | self._all | TagScope(frozenset({f"steps.{step.name}.status"}))
            (scope | outputs if step.hooks or step.on_exit else scope).check(f"{self.place}.steps", _json(step))
            self._all |= outputs

    def _dag(self, dag: m.DAGTemplate) -> None:
        tasks = {task.name: task for task in dag.tasks}
        needs = {name: dependencies(depends_logic(task, tasks)) for name, task in tasks.items()}
        for task in dag.tasks:
            self._all |= _outputs(task, self.find(task), status=False)
        (self.scope | self._all).check(f"{self.place}.targets", json.dumps(dag.target or ""))
        for task in dag.tasks:
            place, before = f"{self.place}.tasks.{task.name}", ancestors(task.name, needs)
            seen = [*before, task.name] if task.hooks or task.on_exit else before
            states = TagScope(frozenset(f"tasks.{name}.status" for name in seen))
            (self.scope | self._all | _items(task) | states).check(place, _json(task))
            _check_dependencies(place, task, before)


def _check_dependencies(place: str, task: m.DAGTask, ancestry: list[str]) -> None:
    arguments = task.arguments or m.Arguments()
    read: list[tuple[str, str | None, str | None]] = []
    read += [("parameter", parameter.name, parameter.value) for parameter in arguments.parameters or []]
    read += [("artifact", artifact.name, artifact.from_) for artifact in arguments.artifacts or []]
    for kind, name, text in read:
        if text and text.startswith("{{tasks.") and (needed := text.split(".")[1]) not in ancestry:
            raise ManifestError(f"{place} missing dependency '{needed}' for {kind} '{name}'")


def _items(call: Call) -> TagScope:
    names, opened = set[str](), set[str]()
    for item in call.with_items or []:
        value = cast("JsonValue", item.model_dump(mode="json"))
        if isinstance(value, dict):
            names |= {f"item.{key}" for key in value}
    if call.with_param:
        opened.add("item.")
    return TagScope(_FIXED | names, _OPEN | opened)


def _outputs(call: Call, template: m.Template | None, *, status: bool) -> TagScope:
    """What others see of a step or task (addOutputsToScope); all, where its template shows only at run time."""
    prefix = f"{'tasks' if isinstance(call, m.DAGTask) else 'steps'}.{call.name}"
    if template is None:
        return TagScope(open=_OPEN | {f"{prefix}."})
    fields = ["id", "startedAt", "finishedAt", "hostNodeName", *(["status"] if status else [])]
    containers = template.container_set.containers if template.container_set else []
    if template.container or template.script or template.http or any(c.name == "main" for c in containers):
        fields += ["outputs.result", "exitCode"]
    outputs = template.outputs or m.Outputs()
    fields += [f"outputs.parameters.{parameter.name}" for parameter in outputs.parameters or []]
    fields += [f"outputs.artifacts.{artifact.name}" for artifact in outputs.artifacts or []]
    if call.with_items or call.with_param:
        fields += ["outputs.parameters", *(["outputs.result", "exitCode"] if containers else [])]
    return TagScope(_FIXED | {f"{prefix}.{name}" for name in fields})


def _json(model: m.Template | Call) -> str:
    return model.model_dump_json(by_alias=True, exclude_none=True)


def _read_by(place: str, tag: str) -> list[str]:
    """The names in an expression tag, as they stand in tags."""
    try:
        return [".".join(path) for path in check_expression(str(json.loads(f'"{tag[1:]}"')))]
    except ExpressionError as error:
        raise ManifestError(f"{place} {error}") from error
