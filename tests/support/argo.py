"""Argo workflows that run without pods: passes of the sandbox's operator, with the pods' ends made up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

from hera.workflows import models as m

from meta.sandbox.argo.manifest.create import create_workflow
from meta.sandbox.argo.operator.locks import Locks
from meta.sandbox.argo.operator.operation import Outcome, finish_pod, operate
from meta.sandbox.argo.operator.shared import Shared
from meta.sandbox.argo.state.caches import Caches
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, Phase
from meta.sandbox.argo.state.workflow import Workflow
from meta.sandbox.images import ImageTable

START = datetime(2026, 1, 1, tzinfo=UTC)
Ending = Callable[[NodeStatus, m.Template], tuple[Phase, dict[str, str]]]


def succeed(node: NodeStatus, template: m.Template) -> tuple[Phase, dict[str, str]]:
    del node, template
    return Phase.SUCCEEDED, {}


def failing(*names: str) -> Ending:
    """Pods of these display names fail, others succeed."""
    return lambda node, _: (Phase.FAILED if node.display_name in names else Phase.SUCCEEDED, {})


class Simulation:
    """Runs a workflow to its end; every pod takes a second."""

    def __init__(self, *templates: object, **spec: object) -> None:
        body = {"entrypoint": "main", "templates": list(templates), **spec}
        manifest = cast("JsonObject", {"metadata": {"name": "wf"}, "spec": body})
        self.workflow: Workflow = create_workflow(manifest, "argo", ImageTable({}), {})
        self.now = START
        self.order: list[str] = []
        self.arguments: dict[str, str] = {}
        self.most = 0  # pods at once
        self.shared = Shared(Locks(), Caches())

    def run(self, ending: Ending = succeed, passes: int = 100) -> Phase:
        for _ in range(passes):
            outcome = operate(self.workflow, self.now, shared=self.shared)
            if self.workflow.status.phase.completed:
                return self.workflow.status.phase
            woken = self.shared.locks.take_woken()
            assert outcome.pods or outcome.wake_at or woken, "the workflow is stuck"
            if not outcome.pods and outcome.wake_at is not None:
                self.now = max(self.now, outcome.wake_at - timedelta(seconds=1))
            self.now += timedelta(seconds=1)
            self.most = max(self.most, len(outcome.pods))
            for request in outcome.pods.values():
                node = self.workflow.status.nodes[request.node_id]
                self.order.append(node.display_name)
                container = request.template.container
                self.arguments[node.display_name] = (container.args or [""])[0] if container else ""
                phase, values = ending(node, request.template)
                outputs = m.Outputs(parameters=[m.Parameter(name=k, value=v) for k, v in values.items()], exit_code="0")
                finish_pod(
                    self.workflow, node, self.now, phase=phase, message=None, outputs=outputs, shared=self.shared
                )
        raise AssertionError("the workflow does not end")

    def step(self) -> Outcome:
        """One pass."""
        return operate(self.workflow, self.now, shared=self.shared)

    def finish(self, name: str, phase: Phase = Phase.SUCCEEDED, message: str | None = None, code: str = "0") -> Outcome:
        """End the pod of a display name a second later; then a pass."""
        self.now += timedelta(seconds=1)
        outputs = m.Outputs(exit_code=code)
        node = self.node(name)
        finish_pod(self.workflow, node, self.now, phase=phase, message=message, outputs=outputs, shared=self.shared)
        return self.step()

    def node(self, name: str) -> NodeStatus:
        (node,) = [n for n in self.workflow.status.nodes.values() if n.display_name == name]
        return node

    def phases(self) -> dict[str, str]:
        return {n.display_name: str(n.phase) for n in self.workflow.status.nodes.values()}


def pod(name: str = "pod", *inputs: str, **more: object) -> dict[str, object]:
    argument = "-".join(f"{{{{inputs.parameters.{i}}}}}" for i in inputs)
    parameters = {"inputs": {"parameters": [{"name": i} for i in inputs]}} if inputs else {}
    return {"name": name, "container": {"image": "i", "command": ["true"], "args": [argument]}, **parameters, **more}


def task(name: str, *needs: str, template: str = "pod", **more: object) -> dict[str, object]:
    return {"name": name, "template": template, "dependencies": list(needs), **more}


def dag(*tasks: dict[str, object], name: str = "main", **more: object) -> dict[str, object]:
    return {"name": name, "dag": {"tasks": list(tasks), **more}}


def steps(*groups: list[dict[str, object]], name: str = "main") -> dict[str, object]:
    return {"name": name, "steps": list(groups)}


def step(name: str, template: str = "pod", **more: object) -> dict[str, object]:
    return {"name": name, "template": template, **more}
