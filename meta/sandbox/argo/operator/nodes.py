"""The nodes of a workflow's status: made, marked, connected, as the controller's operator.go does it."""

from __future__ import annotations

import re
from datetime import datetime

from hera.workflows import models as m

from meta.sandbox.argo.operator.templates import read_key, template_ref
from meta.sandbox.argo.state.names import node_id
from meta.sandbox.argo.state.status import NodeFlag, NodeStatus, NodeType, Phase
from meta.sandbox.argo.state.workflow import Workflow

_SEPARATOR = re.compile(r"^(\[\d+\])?\.")


class Nodes:
    """`status.nodes` by node name."""

    def __init__(self, workflow: Workflow, now: datetime) -> None:
        self._workflow = workflow
        self._nodes = workflow.status.nodes
        self._now = now

    def id(self, name: str) -> str:
        return node_id(self._workflow.name, name)

    def get(self, name: str) -> NodeStatus | None:
        return self._nodes.get(self.id(name))

    def by_id(self, identity: str) -> NodeStatus | None:
        return self._nodes.get(identity)

    def all(self) -> list[NodeStatus]:
        return list(self._nodes.values())

    def within(self, boundary_id: str, prefix: str) -> list[NodeStatus]:
        """Nodes of one boundary whose names begin so: the parts of an expanded step."""
        return [n for n in self._nodes.values() if n.boundary_id == boundary_id and n.name.startswith(prefix)]

    def start(
        self,
        name: str,
        kind: NodeType,
        *,
        phase: Phase,
        boundary_id: str = "",
        template: str | None = None,
        inputs: m.Inputs | None = None,
        flag: NodeFlag | None = None,
        message: str | None = None,
    ) -> NodeStatus:
        """Add a node (initializeNode).

        Args:
            name: of the node.
            kind: its type.
            phase: the phase it begins with.
            boundary_id: the node of the template in which it was called.
            template: the key of the template that it is a use of.
            inputs: what the template was given.
            flag: what made the node.
            message: shown with the phase.
        """
        boundary = self._nodes.get(boundary_id)
        use = read_key(template) if template else None
        node = NodeStatus(
            id=self.id(name),
            name=name,
            display_name=self.display_name(name, boundary_id),
            type=kind,
            template_name=(use.name or None) if use else None,
            template_ref=template_ref(use) if use else None,
            template_scope=self._scope(boundary),
            template_key=template if use and template != use.name else None,
            phase=phase,
            boundary_id=boundary_id or None,
            message=message,
            started_at=self._now,
            finished_at=self._now if phase.fulfilled else None,
            inputs=inputs if inputs is not None and (inputs.parameters or inputs.artifacts) else None,
            node_flag=flag,
        )
        self._nodes[node.id] = node
        return node

    def display_name(self, name: str, boundary_id: str) -> str:
        """A node's name less that of the node in which it was called."""
        boundary = self._nodes.get(boundary_id)
        return name if boundary is None else _SEPARATOR.sub("", name.removeprefix(boundary.name))

    def _scope(self, boundary: NodeStatus | None) -> str:
        """`templateScope`: where the names in the calling template are looked for."""
        holder = read_key(boundary.template or "").holder if boundary is not None else ""
        if holder:
            return holder  # with a stored spec the controller works on a workflow without a name
        return f"local/{'' if self._workflow.status.stored_workflow_template_spec else self._workflow.name}"

    def mark(self, node: NodeStatus, phase: Phase, message: str | None = None) -> NodeStatus:
        """Set a phase and, where given, the message; a fulfilled node gets its finishing time (markNodePhase)."""
        node.phase = phase
        if message is not None:
            node.message = message or None
        if phase.fulfilled and node.finished_at is None:
            node.finished_at = self._now
        return node

    def connect(self, parent: str, child: str) -> None:
        node = self.get(parent)
        if node is not None and self.id(child) not in node.children:
            node.children.append(self.id(child))

    def outbound(self, identity: str) -> list[str]:
        """The last nodes below a node, to which what comes next is connected (getOutboundNodes)."""
        node = self._nodes[identity]
        cached = node.memoization_status is not None and node.memoization_status.hit  # has nothing below it
        if cached or node.type in {NodeType.SKIPPED, NodeType.SUSPEND, NodeType.HTTP}:
            return [identity]
        if node.type is NodeType.RETRY and node.children:
            return [node.children[-1]]
        if node.type in {NodeType.POD, NodeType.CONTAINER}:  # a pod's children may be its containers, or come after it
            own = node.id if node.type is NodeType.POD else node.boundary_id
            inner = [c for c in node.children if c in self._nodes and self._nodes[c].boundary_id == own]
            return [leaf for child in inner for leaf in self.outbound(child)] or [identity]
        if node.type is NodeType.TASK_GROUP:
            if not node.children:
                return [identity]
            return [leaf for child in node.children if child in self._nodes for leaf in self.outbound(child)]
        return [leaf for child in node.outbound_nodes for leaf in self.outbound(child)]

    def retries(self, node: NodeStatus) -> list[NodeStatus]:
        """The attempts of a Retry node, in order."""
        attempts = [self._nodes[child] for child in node.children if child in self._nodes]
        return [child for child in attempts if child.node_flag is not None and child.node_flag.retried]

    def update_resources(self) -> None:
        """Add up what pods took, for all that hold them and for the workflow (util/resource, resourcesduration)."""
        pods = [node for node in self._nodes.values() if node.type is NodeType.POD and node.resources_duration]
        totals: dict[str, dict[str, int]] = {}
        for pod in pods:
            holder = self._nodes.get(pod.boundary_id or "")
            while holder is not None:
                add_resources(totals.setdefault(holder.id, {}), pod.resources_duration)
                holder = self._nodes.get(holder.boundary_id or "")
        for identity, total in totals.items():
            self._nodes[identity].resources_duration = total
        everything: dict[str, int] = {}
        for pod in pods:
            add_resources(everything, pod.resources_duration)
        self._workflow.status.resources_duration = everything or None

    def update_progress(self) -> None:
        """Pods count one each, other nodes what is below them (workflow/progress)."""
        totals: dict[str, tuple[int, int]] = {}
        for node in self._nodes.values():
            if node.type in {NodeType.POD, NodeType.CONTAINER}:
                done = int(node.phase is Phase.SUCCEEDED)
                node.progress = f"{done}/1"
                boundary = node
                while boundary is not None:
                    ready, total = totals.get(boundary.id, (0, 0))
                    totals[boundary.id] = (ready + done, total + 1)
                    boundary = self._nodes.get(boundary.boundary_id or "")
        for identity, (done, total) in totals.items():
            self._nodes[identity].progress = f"{done}/{total}"
        pods = [node for node in self._nodes.values() if node.type in {NodeType.POD, NodeType.CONTAINER}]
        self._workflow.status.progress = f"{sum(n.phase is Phase.SUCCEEDED for n in pods)}/{len(pods)}"


def add_resources(total: dict[str, int], more: dict[str, int] | None) -> None:
    for resource, seconds in (more or {}).items():
        total[resource] = total.get(resource, 0) + seconds
