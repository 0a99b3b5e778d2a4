"""Steps templates: groups one after another, the steps of a group side by side (controller/steps.go)."""

from __future__ import annotations

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Call, Context, OperationError
from meta.sandbox.argo.operator.expand import CallT, expand, expands
from meta.sandbox.argo.operator.global_outputs import export_outputs
from meta.sandbox.argo.operator.hooks import run_hooks
from meta.sandbox.argo.operator.scope import Scope
from meta.sandbox.argo.operator.tags import SubstitutionError, replace, replace_string
from meta.sandbox.argo.operator.when import WhenError, evaluate_when
from meta.sandbox.argo.state.status import NodeFlag, NodeStatus, NodeType, Phase

_STRICT = ("steps", "tasks")


def run_steps(context: Context, call: Call, template: m.Template) -> NodeStatus:
    """Bring a steps template as far as it goes now.

    Raises:
        OperationError: its outputs cannot be resolved.
    """
    nodes = context.nodes
    node = nodes.get(call.node_name) or nodes.start(
        call.node_name, NodeType.STEPS, phase=Phase.RUNNING, boundary_id=call.boundary_id,
        template=call.template, inputs=template.inputs, flag=call.flag,
    )  # fmt: skip
    if node.fulfilled:
        return node
    scope = Scope(context, template)
    groups = [list(group.root) for group in template.steps or []]
    for index, group in enumerate(groups):
        name = f"{call.node_name}[{index}]"
        group_node = nodes.get(name) or nodes.start(
            name, NodeType.STEP_GROUP, phase=Phase.RUNNING, boundary_id=node.id, flag=NodeFlag()
        )
        _connect_group(context, call.node_name, index)
        _run_group(context, call, group, group_node, scope)
        if not group_node.fulfilled:
            return node
        if group_node.phase.unsuccessful:
            _set_outbound(context, node, len(groups))
            return nodes.mark(node, Phase.FAILED, group_node.message)
        try:
            for step in group:
                _see(context, scope, node, group_node, step)
        except OperationError as error:
            nodes.mark(node, Phase.ERROR)
            raise OperationError(str(error)) from error
    _set_outbound(context, node, len(groups))
    node.outputs = scope.outputs(template)
    export_outputs(context, node.outputs)
    return nodes.mark(node, Phase.SUCCEEDED)


def _see(context: Context, scope: Scope, node: NodeStatus, group_node: NodeStatus, step: m.WorkflowStep) -> None:
    prefix, name = f"steps.{step.name}", f"{group_node.name}.{step.name}"
    child = context.nodes.get(name)
    if child is not None:
        scope.add_node(prefix, child, context.template(step.template or ""))
        return
    parts = [n for n in context.nodes.within(node.id, f"{name}(") if n.type is not NodeType.SKIPPED]
    scope.add_group(prefix, parts)
    scope.add_node(prefix, group_node, None)


def _connect_group(context: Context, steps_name: str, index: int) -> None:
    nodes, name = context.nodes, f"{steps_name}[{index}]"
    if index == 0:
        nodes.connect(steps_name, name)
        return
    previous = nodes.get(f"{steps_name}[{index - 1}]")
    assert previous is not None  # made in this very loop
    if not previous.children:
        nodes.connect(previous.name, name)
    for child in previous.children:
        for leaf in nodes.outbound(child):
            leaf_node = nodes.by_id(leaf)
            if leaf_node is not None:
                nodes.connect(leaf_node.name, name)


def _set_outbound(context: Context, node: NodeStatus, groups: int) -> None:
    for index in reversed(range(groups)):
        group = context.nodes.get(f"{node.name}[{index}]")
        if group is not None:
            node.outbound_nodes = [leaf for child in group.children for leaf in context.nodes.outbound(child)]
            return


def _run_group(context: Context, call: Call, group: list[m.WorkflowStep], group_node: NodeStatus, scope: Scope) -> None:
    nodes = context.nodes
    if group_node.fulfilled:
        return
    try:
        ready = [step for original in group for step in _resolve(context, original, group_node, scope)]
    except (OperationError, SubstitutionError, WhenError) as error:
        nodes.mark(group_node, Phase.ERROR, f"failed to resolve references: {error}")
        return
    by_node: dict[str, m.WorkflowStep] = {}
    for step in ready:
        name = f"{group_node.name}.{step.name}"
        if not _proceeds(context, step, name, group_node):
            if group_node.fulfilled:
                return
            continue
        child_call = Call(
            name, step.template or "", step.arguments, group_node.boundary_id or "", ("steps", step.name or ""),
            call.on_exit, inline=step.inline,
        )  # fmt: skip
        try:
            child = context.execute(context, child_call)
        except OperationError as error:
            nodes.connect(group_node.name, name)
            message = f"step group deemed errored due to child {name} error: {error}"
            nodes.mark(group_node, Phase.ERROR, message)
            return
        if child is None:  # it has to wait
            continue
        by_node[child.id] = step
        nodes.connect(group_node.name, name)
    _assess_group(context, group_node, by_node, scope)


def _assess_group(context: Context, group_node: NodeStatus, by_node: dict[str, m.WorkflowStep], scope: Scope) -> None:
    nodes = context.nodes
    children = [child for identity in group_node.children if (child := nodes.by_id(identity)) is not None]
    ended = True
    for child in children:
        step = by_node.get(child.id)
        try:
            if step is not None:
                ended &= run_hooks(context, step, child, group_node.boundary_id or "", scope)
        except OperationError as error:
            nodes.mark(group_node, Phase.ERROR, str(error))
            return
        ended &= child.fulfilled
    if not ended:
        return
    for child in children:
        if child.phase.unsuccessful and not continues(by_node.get(child.id), child.phase):
            nodes.mark(group_node, Phase.FAILED, f"child '{child.id}' failed")
            return
    nodes.mark(group_node, Phase.SUCCEEDED)


def continues(call: m.WorkflowStep | m.DAGTask | None, phase: Phase) -> bool:
    """`continueOn`: whether that ending does not count as a failure."""
    rule = call.continue_on if call is not None else None
    if rule is None:
        return False
    return bool(rule.error if phase is Phase.ERROR else rule.failed)


def _resolve(context: Context, step: m.WorkflowStep, group_node: NodeStatus, scope: Scope) -> list[m.WorkflowStep]:
    """Replace the references of a step, then make its parts; a step that does not run keeps its references."""
    step = step.model_copy(deep=True)
    if step.when:
        step.when = replace_string(step.when, scope.values, strict=_STRICT)
    if runs(step):
        resolved = resolve(step, scope)
        parts = expand(resolved, scope.values) if expands(step) else [resolved]
    else:
        parts = parts_of_skipped(step, scope)
    name = f"{group_node.name}.{step.name}"
    if not parts and context.nodes.get(name) is None:
        context.nodes.start(
            name, NodeType.SKIPPED, phase=Phase.SKIPPED, boundary_id=group_node.boundary_id or "",
            template=step.template, flag=NodeFlag(), message="Skipped, empty params",
        )  # fmt: skip
        context.nodes.connect(group_node.name, name)
    return parts


def runs(call: m.WorkflowStep | m.DAGTask) -> bool:
    """What a condition says before `{{item}}` is known; one that cannot be read yet may still hold.

    Raises:
        WhenError: it cannot be read, and there is no item to wait for.
    """
    try:
        return evaluate_when(call.when or "")
    except WhenError:
        if expands(call):
            return True
        raise


def parts_of_skipped(call: CallT, scope: Scope) -> list[CallT]:
    """What a step or task that does not run expands to, as far as that is known."""
    if not expands(call):
        return [call]
    try:
        return expand(call, {name: value for name, value in scope.values.items() if value is not None})
    except OperationError:  # the list would have come from what did not run either
        return []


def resolve(call: CallT, scope: Scope) -> CallT:
    """A step or task with its references replaced; its hooks keep theirs, which may be to itself.

    Raises:
        OperationError: an artifact does not exist.
        SubstitutionError: a value does not exist.
    """
    scope.drop_absent(call.arguments)
    hooks, bare = call.hooks, call.model_copy(update={"hooks": None})
    resolved = replace(bare, scope.values, strict=_STRICT)
    scope.resolve_artifacts(resolved.arguments)
    resolved.hooks = hooks
    return resolved


def _proceeds(context: Context, step: m.WorkflowStep, name: str, group_node: NodeStatus) -> bool:
    nodes = context.nodes
    if not step.when:
        return True
    try:
        if evaluate_when(step.when):
            return True
        phase, message = Phase.SKIPPED, f"when '{step.when}' evaluated false"
    except WhenError as error:
        phase, message = Phase.ERROR, str(error)
    if nodes.get(name) is None:
        nodes.start(
            name, NodeType.SKIPPED, phase=phase, boundary_id=group_node.boundary_id or "",
            template=step.template, flag=NodeFlag(), message=message,
        )  # fmt: skip
        nodes.connect(group_node.name, name)
    if phase is Phase.ERROR:
        nodes.mark(group_node, Phase.ERROR, message)
    return False
