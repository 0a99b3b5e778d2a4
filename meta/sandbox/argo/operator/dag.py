"""DAG templates: every task as soon as what it depends on allows (controller/dag.go)."""

from __future__ import annotations

from collections import deque

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Call, Context, OperationError
from meta.sandbox.argo.operator.depends import (
    DependsError,
    Outcome,
    ancestors,
    dependencies,
    depends_logic,
    evaluate_depends,
)
from meta.sandbox.argo.operator.expand import expand, expands
from meta.sandbox.argo.operator.global_outputs import export_outputs
from meta.sandbox.argo.operator.hooks import EXIT, hooks_ended, run_hooks
from meta.sandbox.argo.operator.scope import Scope
from meta.sandbox.argo.operator.steps import continues, parts_of_skipped, resolve, runs
from meta.sandbox.argo.operator.tags import SubstitutionError, replace_string
from meta.sandbox.argo.operator.when import WhenError, evaluate_when
from meta.sandbox.argo.state.status import NodeFlag, NodeStatus, NodeType, Phase, Shutdown

_STRICT = ("tasks", "steps")


def run_dag(context: Context, call: Call, template: m.Template) -> NodeStatus:
    """Bring a DAG as far as it goes now.

    Raises:
        OperationError: its outputs cannot be resolved.
    """
    node = context.nodes.get(call.node_name) or context.nodes.start(
        call.node_name, NodeType.DAG, phase=Phase.RUNNING, boundary_id=call.boundary_id,
        template=call.template, inputs=template.inputs, flag=call.flag,
    )  # fmt: skip
    if node.fulfilled:
        return node
    return _Dag(context, call, template, node).run()


class _Dag:
    def __init__(self, context: Context, call: Call, template: m.Template, node: NodeStatus) -> None:
        assert template.dag is not None
        self._context, self._call, self._template, self._node = context, call, template, node
        self._nodes = context.nodes
        self._dag = template.dag
        self._tasks = {task.name: task for task in self._dag.tasks}
        self._logic = {name: depends_logic(task, self._tasks) for name, task in self._tasks.items()}
        self._needs = {name: dependencies(logic) for name, logic in self._logic.items()}
        self._visited: set[str] = set()

    def _targets(self) -> list[str]:
        if self._dag.target:
            return self._dag.target.split()
        needed = {need for needs in self._needs.values() for need in needs}
        return sorted(name for name in self._tasks if name not in needed)

    def _task_node(self, name: str) -> NodeStatus | None:
        return self._nodes.get(f"{self._node.name}.{name}")

    def run(self) -> NodeStatus:
        targets = self._targets()
        for target in targets:
            self._visit(target)
        phase = self._assess(targets)
        if phase is Phase.RUNNING:
            return self._node
        if phase is not Phase.SUCCEEDED:
            self._set_outbound(targets)
            return self._nodes.mark(self._node, phase)
        scope = Scope(self._context, self._template)
        for name in self._tasks:
            self._see(scope, name)
            task_node = self._task_node(name)
            export_outputs(self._context, task_node.outputs if task_node else None)
        self._node.outputs = scope.outputs(self._template)
        export_outputs(self._context, self._node.outputs)
        self._set_outbound(targets)
        return self._nodes.mark(self._node, Phase.SUCCEEDED)

    def _set_outbound(self, targets: list[str]) -> None:
        ready = [node for target in targets if (node := self._task_node(target)) is not None]
        self._node.outbound_nodes = [leaf for node in ready for leaf in self._nodes.outbound(node.id)]

    def _see(self, scope: Scope, name: str) -> None:
        node = self._task_node(name)
        if node is None:  # not an ancestor of the DAG's target
            return
        if node.type is NodeType.TASK_GROUP:
            scope.add_group(f"tasks.{name}", self._nodes.within(self._node.id, f"{node.name}("))
        scope.add_node(f"tasks.{name}", node, self._context.template(self._tasks[name].template or ""))

    def _visit(self, name: str) -> None:
        """Run what a task needs, then the task (executeDAGTask)."""
        if name in self._visited:
            return
        self._visited.add(name)
        task, node = self._tasks[name], self._task_node(name)
        if node is not None:
            self._hooks(task, node)
            if node.fulfilled or node.id in self._context.live:
                return
        for need in self._needs[name]:
            self._visit(need)
        if node is None and not self._may_start(task):
            return
        try:
            calls, scope = self._resolve(task)
        except (OperationError, SubstitutionError, WhenError) as error:
            self._skip(task, task.name, Phase.ERROR, str(error))
            return
        if expands(task) and node is None:
            if not calls:
                self._skip(task, task.name, Phase.SKIPPED, "Skipped, empty params")
                return
            node = self._nodes.start(
                f"{self._node.name}.{name}", NodeType.TASK_GROUP, phase=Phase.RUNNING, boundary_id=self._node.id,
                template=task.template, flag=NodeFlag(),
            )  # fmt: skip
            self._connect(task, node.name)
        for part in calls:
            if not self._run_part(task, part, scope, group=node if expands(task) else None):
                return
        if expands(task) and node is not None:
            self._finish_group(node, [part.name for part in calls])

    def _hooks(self, task: m.DAGTask, node: NodeStatus) -> None:
        if not (task.hooks or task.on_exit):
            return
        scope = Scope(self._context, self._template)
        try:
            for ancestor in ancestors(task.name, self._needs):
                self._see(scope, ancestor)
            run_hooks(self._context, task, node, self._node.id, scope)
        except OperationError as error:
            self._nodes.mark(node, Phase.ERROR, str(error))

    def _may_start(self, task: m.DAGTask) -> bool:
        outcomes: dict[str, Outcome] = {}
        for need in self._needs[task.name]:
            node = self._task_node(need)
            if node is None or not node.fulfilled or not hooks_ended(self._context, node):
                return False
            children = [child for key in node.children if (child := self._nodes.by_id(key)) is not None]
            group = node.type is NodeType.TASK_GROUP
            outcomes[need] = Outcome(node.phase, tuple(child.phase for child in children) if group else None)
        if not outcomes:
            return True
        try:
            if evaluate_depends(self._logic[task.name], outcomes, self._tasks):
                return True
            self._skip(task, task.name, Phase.OMITTED, "omitted: depends condition not met")
        except DependsError as error:
            self._skip(task, task.name, Phase.ERROR, str(error))
        return False

    def _skip(self, task: m.DAGTask, name: str, phase: Phase, message: str, group: NodeStatus | None = None) -> None:
        node_name = f"{self._node.name}.{name}"
        existing = self._nodes.get(node_name)
        if existing is not None:
            if not existing.fulfilled:
                self._nodes.mark(existing, phase, message)
            return
        self._nodes.start(
            node_name, NodeType.SKIPPED, phase=phase, boundary_id=self._node.id, template=task.template,
            flag=NodeFlag(), message=message,
        )  # fmt: skip
        self._connect(task, node_name, group)

    def _connect(self, task: m.DAGTask, node_name: str, group: NodeStatus | None = None) -> None:
        """Make a node the child of its group, of the DAG, or of the last nodes of what the task depends on."""
        if group is not None:
            self._nodes.connect(group.name, node_name)
        elif not self._needs[task.name]:
            self._nodes.connect(self._node.name, node_name)
        else:
            for need in self._needs[task.name]:
                for leaf in self._nodes.outbound(self._nodes.id(f"{self._node.name}.{need}")):
                    parent = self._nodes.by_id(leaf)
                    if parent is not None:
                        self._nodes.connect(parent.name, node_name)

    def _resolve(self, task: m.DAGTask) -> tuple[list[m.DAGTask], Scope]:
        scope = Scope(self._context, self._template)
        for ancestor in ancestors(task.name, self._needs):
            self._see(scope, ancestor)
        task = task.model_copy(deep=True)
        if task.when:
            task.when = replace_string(task.when, scope.values, strict=_STRICT)
            if not runs(task):
                return parts_of_skipped(task, scope), scope
        resolved = resolve(task, scope)
        return (expand(resolved, scope.values) if expands(task) else [resolved]), scope

    def _run_part(self, task: m.DAGTask, part: m.DAGTask, scope: Scope, group: NodeStatus | None) -> bool:
        """Run a task, or one of those that it expands to; False where it has to wait."""
        name = f"{self._node.name}.{part.name}"
        if self._nodes.get(name) is None:
            self._connect(task, name, group)
            try:
                if not evaluate_when(part.when or ""):
                    self._skip(task, part.name, Phase.SKIPPED, f"when '{part.when}' evaluated false", group)
                    return True
            except WhenError as error:
                self._skip(task, part.name, Phase.ERROR, str(error), group)
                return True
        call = Call(
            name, part.template or "", part.arguments, self._node.id, ("tasks", task.name), self._call.on_exit,
            inline=part.inline,
        )  # fmt: skip
        try:
            node = self._context.execute(self._context, call)
        except OperationError as error:
            node = self._nodes.get(name)
            if node is not None:
                self._nodes.mark(node, Phase.ERROR, f"task '{name}' errored: {error}")
        if node is not None and node.phase.completed:
            exit_only = {key: hook for key, hook in (task.hooks or {}).items() if key == EXIT}
            self._hooks(task.model_copy(update={"hooks": exit_only}) if group else task, node)
        return node is not None

    def _finish_group(self, group: NodeStatus, names: list[str]) -> None:
        parts = [self._task_node(name) for name in names]
        if any(part is None or not part.fulfilled for part in parts):
            return
        unsuccessful = [part.phase for part in parts if part is not None and part.phase.unsuccessful]
        self._nodes.mark(group, unsuccessful[-1] if unsuccessful else Phase.SUCCEEDED)

    def _assess(self, targets: list[str]) -> Phase:
        """The DAG's phase: a target that did not run has the phase of what came before it (assessDAGPhase)."""
        if self._context.workflow.shutdown is not Shutdown.NONE and not self._call.on_exit and self._hooks_over():
            return Phase.FAILED
        found: dict[str, Phase | None] = {self._nodes.id(f"{self._node.name}.{name}"): None for name in targets}
        queue: deque[tuple[str, Phase]] = deque((child, Phase.SUCCEEDED) for child in self._node.children)
        seen: set[tuple[str, Phase]] = set()
        while queue:
            entry = queue.popleft()
            if entry in seen:
                continue
            seen.add(entry)
            identity, phase = entry
            node = self._nodes.by_id(identity)
            if node is None or not node.fulfilled:
                return Phase.RUNNING
            if node.phase.completed:
                phase = node.phase
            if identity in found:
                previous = found[identity]
                if previous is None or not previous.unsuccessful:
                    found[identity] = phase
            queue.extend((child, phase) for child in self._next(node))
        result = Phase.SUCCEEDED
        for name in targets:
            phase_found = found[self._nodes.id(f"{self._node.name}.{name}")]
            if phase_found is None:
                result = Phase.RUNNING
                if self._dag.fail_fast is False:
                    break
            elif phase_found.unsuccessful and not continues(self._tasks[name], phase_found):
                result = phase_found
                if self._dag.fail_fast is not False:
                    break
        return result

    def _hooks_over(self) -> bool:
        nodes = [node for name in self._tasks if (node := self._task_node(name)) is not None]
        return all(hooks_ended(self._context, node) for node in nodes)

    def _next(self, node: NodeStatus) -> list[str]:
        """A Retry node hands on what its attempts hand on, with its own phase, not theirs."""
        if node.type is not NodeType.RETRY:
            return node.children
        attempts = {attempt.id for attempt in self._nodes.retries(node)}
        later = [child for attempt in self._nodes.retries(node) for child in attempt.children]
        return [child for child in (*node.children, *later) if child not in attempts]
