"""Suspend templates: a node that waits for its time, or for somebody (executeSuspend, workflow/util/util.go)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Call, Context, OperationError
from meta.sandbox.argo.operator.durations import duration
from meta.sandbox.argo.operator.global_outputs import export_to
from meta.sandbox.argo.state.status import NodeStatus, NodeType, Phase
from meta.sandbox.argo.state.workflow import Workflow

Selector = Callable[[NodeStatus], bool]


class SuspendError(Exception):
    """A resume or set that cannot be done; the server answers it as Internal."""


def run_suspend(context: Context, call: Call, template: m.Template) -> NodeStatus:
    """Begin to wait, or go on when the time is over.

    Raises:
        OperationError: the duration cannot be read, or an output was never given and has no default.
    """
    nodes = context.nodes
    node = nodes.get(call.node_name)
    if node is None or node.phase is Phase.PENDING:  # that waited for a lock
        node = node or nodes.start(
            call.node_name, NodeType.SUSPEND, phase=Phase.RUNNING, boundary_id=call.boundary_id,
            template=call.template, inputs=_with_choices(template.inputs), flag=call.flag,
        )  # fmt: skip
        node.phase, node.outputs = Phase.RUNNING, _awaited(template)
    text = template.suspend.duration if template.suspend else None
    if text:
        due = (node.started_at or context.now) + duration(str(text))
        if context.now >= due:
            try:
                _take_defaults(node)
            except SuspendError as error:
                raise OperationError(str(error)) from error
            return nodes.mark(node, Phase.SUCCEEDED)
        context.wake(due)
    return node


def _with_choices(inputs: m.Inputs | None) -> m.Inputs | None:
    """An input whose value is itself a parameter as JSON brings its choices along, for a form in a user interface."""
    for parameter in (inputs.parameters if inputs else None) or []:
        try:
            inner = m.Parameter.model_validate({"name": parameter.name, **json.loads(parameter.value or "")})
        except (ValueError, TypeError):  # an ordinary value
            continue
        if inner.enum:
            parameter.enum = inner.enum
            parameter.default = parameter.default if parameter.default is not None else inner.enum[0]
    return inputs


def _awaited(template: m.Template) -> m.Outputs | None:
    """Outputs that somebody will supply; a default may come from the input of the same name."""
    defaults = {p.name: p.default for p in (template.inputs.parameters if template.inputs else None) or []}
    awaited: list[m.Parameter] = []
    for parameter in (template.outputs.parameters if template.outputs else None) or []:
        source = parameter.value_from
        if source is None or source.supplied is None:
            continue
        default = source.default if source.default is not None else defaults.get(parameter.name)
        awaited.append(parameter.model_copy(update={"value_from": source.model_copy(update={"default": default})}))
    return m.Outputs(parameters=awaited) if awaited else None


def is_waiting(node: NodeStatus) -> bool:
    """Whether it is a suspend node that waits (IsActiveSuspendNode)."""
    return node.type is NodeType.SUSPEND and node.phase is Phase.RUNNING


def _take_defaults(node: NodeStatus) -> None:
    """Outputs that nobody supplied get their defaults."""
    for parameter in (node.outputs.parameters if node.outputs else None) or []:
        if parameter.value_from is not None and parameter.value_from.supplied is not None:
            if parameter.value_from.default is None:
                raise SuspendError(
                    f"raw output parameter '{parameter.name}' has not been set and does not have a default value"
                )
            parameter.value, parameter.value_from = parameter.value_from.default, None


def resume(workflow: Workflow, now: datetime) -> None:
    """Take `spec.suspend` away and let every waiting node succeed (ResumeWorkflow).

    Raises:
        SuspendError: an output was never given and has no default; nothing is changed.
    """
    waiting = [node for node in workflow.status.nodes.values() if is_waiting(node)]
    for node in waiting:
        _take_defaults(node.model_copy(deep=True))
    workflow.change_spec(suspend=None)
    for node in waiting:
        _take_defaults(node)
        node.phase, node.finished_at = Phase.SUCCEEDED, now
        node.message = f"{node.message}; " if node.message else None  # the user's name would follow


def update_nodes(
    workflow: Workflow, now: datetime, selector: str, *, phase: Phase, message: str, outputs: Mapping[str, str]
) -> None:
    """Change the waiting nodes that a selector names (updateSuspendedNode).

    Args:
        workflow: changed in place, unless an error is raised.
        now: the time.
        selector: `field=value,...` over nodes.
        phase: what they become; UNKNOWN leaves it.
        message: their message; empty leaves it.
        outputs: values for the outputs that they wait for.

    Raises:
        SuspendError: nothing matches, or an output is not awaited; nothing is changed.
    """
    matches = node_selector(selector)
    found = [n for n in workflow.status.nodes.values() if is_waiting(n) and matches(n)]
    if not found or not (phase or message or outputs):
        raise SuspendError(
            f"currently, set only targets suspend nodes: no suspend nodes matching nodeFieldSelector: {selector}"
        )
    for node in found:
        for name in outputs:
            _check_awaited(node, name)
    for node in found:
        for parameter in (node.outputs.parameters if node.outputs else None) or []:
            if parameter.name in outputs:
                parameter.value, parameter.value_from = outputs[parameter.name], None
        export_to(workflow.status, m.Outputs(parameters=[
            p for p in (node.outputs.parameters if node.outputs else None) or [] if p.name in outputs
        ]))  # fmt: skip
        node.message = message or node.message
        if phase:
            node.phase, node.finished_at = phase, now


def _check_awaited(node: NodeStatus, name: str) -> None:
    if node.outputs is None:
        raise SuspendError("cannot set output parameters because node is not expecting any raw parameters")
    found = next((p for p in node.outputs.parameters or [] if p.name == name), None)
    if found is None:
        raise SuspendError(f"node is not expecting output parameter '{name}'")
    if found.value_from is None or found.value_from.supplied is None:
        raise SuspendError(
            f"cannot set output parameter '{name}' because it does not use valueFrom.raw or it was already set"
        )


_TERM = re.compile(r"\s*([^=!,]+?)\s*(==|=|!=)\s*((?:\\.|[^\\,=])*?)\s*")


def node_selector(text: str) -> Selector:
    """A field selector over nodes (SelectorMatchesNode): displayName, templateName, phase, name, id, inputs.

    Raises:
        SuspendError: not a selector.
    """
    terms: list[tuple[str, bool, str]] = []
    for part in re.split(r"(?<!\\),", text):
        if not part.strip():
            continue
        match = _TERM.fullmatch(part)
        if match is None:
            raise SuspendError(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        terms.append((field, operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    return lambda node: all((_fields(node).get(field, "") == value) == equal for field, equal, value in terms)


def _fields(node: NodeStatus) -> dict[str, str]:
    fields = {
        "displayName": node.display_name, "templateName": node.template_of_pod, "phase": str(node.phase),
        "name": node.name, "id": node.id,
    }  # fmt: skip
    if node.template_ref is not None:
        fields["templateRef.name"] = node.template_ref.name or ""
        fields["templateRef.template"] = node.template_ref.template or ""
    for parameter in (node.inputs.parameters if node.inputs else None) or []:
        fields[f"inputs.parameters.{parameter.name}.value"] = parameter.value or ""
    return fields
