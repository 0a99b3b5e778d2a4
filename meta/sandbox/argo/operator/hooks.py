"""Lifecycle hooks and exit handlers of steps, tasks and the workflow (controller/hooks.go, exit_handler.go)."""

from __future__ import annotations

from dataclasses import dataclass

from hera.workflows import models as m

from meta.sandbox.argo.expressions import ExpressionError, Value, compile_expression, environment
from meta.sandbox.argo.operator.context import ON_EXIT, Call, Context, OperationError
from meta.sandbox.argo.operator.scope import Scope
from meta.sandbox.argo.operator.tags import SubstitutionError, replace
from meta.sandbox.argo.operator.templates import reference_key
from meta.sandbox.argo.state.status import NodeFlag, NodeStatus

EXIT = "exit"


def keyed_hook(hook: m.LifecycleHook) -> m.LifecycleHook:
    """A hook of the workflow itself, with its template's key in the place of a reference."""
    if hook.template_ref is None:
        return hook
    return hook.model_copy(update={"template": reference_key("", hook.template_ref), "template_ref": None})


def exit_hook(
    on_exit: str | None, hooks: dict[str, m.LifecycleHook] | None, arguments: m.Arguments | None
) -> m.LifecycleHook | None:
    """The handler that `onExit`, or the hook `exit`, names; without arguments of its own it gets the workflow's."""
    if on_exit:
        return m.LifecycleHook(template=on_exit, arguments=arguments)
    hook = (hooks or {}).get(EXIT)
    hook = keyed_hook(hook) if hook is not None else None
    if hook is None or (hook.arguments and (hook.arguments.parameters or hook.arguments.artifacts)):
        return hook
    return hook.model_copy(update={"arguments": arguments})


def run_hooks(
    context: Context, owner: m.WorkflowStep | m.DAGTask, node: NodeStatus, boundary_id: str, scope: Scope
) -> bool:
    """Start the hooks of a step or task whose expressions hold, and its exit handler once it has completed.

    Args:
        context: the pass.
        owner: the step or task.
        node: its node.
        boundary_id: of the template that it stands in.
        scope: what it can see; its own phase and outputs are added.

    Returns:
        Whether all that were started have ended.

    Raises:
        OperationError: an expression or an argument cannot be resolved.
    """
    handler = exit_hook(owner.on_exit, owner.hooks, context.workflow.spec.arguments)
    if handler is None and not owner.hooks:
        return True
    prefix = f"{'tasks' if isinstance(owner, m.DAGTask) else 'steps'}.{owner.name}"
    scope.add_node(prefix, node, None)
    scope.values[f"{prefix}.status"] = str(node.phase)  # of the Retry node, not of its last attempt
    run = _Runner(context, node, boundary_id, scope)
    ended = True
    for name, hook in (owner.hooks or {}).items():
        if name == EXIT:
            continue
        hook_name = f"{node.name}.hooks.{name}"
        if _holds(hook, scope) or context.nodes.get(hook_name) is not None:
            ended &= run(hook, hook_name, on_exit=False)
    if handler is not None and node.phase.completed and context.workflow.shutdown.allows(on_exit=True):
        if not handler.expression or _holds(handler, scope):
            ended &= run(handler, node.name + ON_EXIT, on_exit=True)
    return ended


def run_workflow_hooks(context: Context, root: NodeStatus) -> bool:
    """Start the workflow's own hooks whose expressions hold; `exit` is for the exit handler.

    Returns:
        Whether all that were started have ended.

    Raises:
        OperationError: an expression or a template cannot be resolved.
    """
    ended = True
    for name, reference in (context.workflow.spec.hooks or {}).items():
        hook = keyed_hook(reference)
        hook_name = f"{context.workflow.name}.hooks.{name}"
        if name == EXIT or not (_evaluates(hook, context.values) or context.nodes.get(hook_name)):
            continue
        call = Call(hook_name, hook.template or "", hook.arguments, flag=NodeFlag(hooked=True))
        node = context.execute(context, call)
        context.nodes.connect(root.name, hook_name)
        ended &= node is not None and node.fulfilled
    return ended


@dataclass(frozen=True, slots=True)
class _Runner:
    context: Context
    node: NodeStatus
    boundary_id: str
    scope: Scope

    def __call__(self, hook: m.LifecycleHook, name: str, *, on_exit: bool) -> bool:
        """Bring a hook as far as it goes now; whether it has ended."""
        arguments = hook.arguments
        if arguments is not None:
            try:
                arguments = arguments.model_copy(deep=True)
                self.scope.drop_absent(arguments)
                arguments = replace(arguments, self.scope.values)
                self.scope.resolve_artifacts(arguments)
            except SubstitutionError as error:
                raise OperationError(str(error)) from error
        flag = NodeFlag(hooked=True)
        call = Call(name, hook.template or "", arguments, self.boundary_id, on_exit=on_exit, flag=flag)
        hooked = self.context.execute(self.context, call)
        self.context.nodes.connect(self.node.name, name)
        return hooked is not None and hooked.fulfilled


def hooks_ended(context: Context, node: NodeStatus) -> bool:
    """Whether all hooks below a node have ended (CheckAllHooksFullfilled)."""
    children = [child for key in node.children if (child := context.nodes.by_id(key)) is not None]
    return all(c.fulfilled for c in children if c.node_flag is not None and c.node_flag.hooked)


def _holds(hook: m.LifecycleHook, scope: Scope) -> bool:
    return _evaluates(hook, {**scope.values, **scope.artifacts})


def _evaluates(hook: m.LifecycleHook, values: dict[str, str | None] | dict[str, Value]) -> bool:
    try:
        return compile_expression(hook.expression or "").holds(environment(dict(values)))
    except ExpressionError as error:
        raise OperationError(str(error)) from error
