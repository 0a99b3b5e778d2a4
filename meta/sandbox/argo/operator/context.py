"""What one pass of the operator works with and what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hera.workflows import models as m

from meta.sandbox.argo.manifest.merge import with_defaults
from meta.sandbox.argo.operator.nodes import Nodes
from meta.sandbox.argo.operator.shared import Shared
from meta.sandbox.argo.operator.templates import Find, TemplateMissingError, Templates, nowhere
from meta.sandbox.argo.state.status import NodeFlag, NodeStatus
from meta.sandbox.argo.state.workflow import Workflow

ON_EXIT = ".onExit"


class OperationError(Exception):
    """A template cannot be run; the message goes into the node's status."""


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod that should run, or be running.

    Attributes:
        template: with every tag replaced.
        include_result: whether standard output is kept as `outputs.result`.
    """

    node_id: str
    pod_name: str
    template: m.Template
    include_result: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a template: by the workflow, a step, a task or an exit handler.

    Attributes:
        template: its key (`operator/templates.py`).
        inline: the template itself, where the call has it, the call's tags in it replaced.
        deadline: when its pods are ended.
    """

    node_name: str
    template: str
    arguments: m.Arguments | None = None
    boundary_id: str = ""
    caller: tuple[str, str] | None = None  # ("steps", its name) or ("tasks", its name)
    on_exit: bool = False
    flag: NodeFlag | None = None
    inline: m.Template | None = None
    deadline: datetime | None = None


class Execute(Protocol):
    def __call__(self, context: Context, call: Call) -> NodeStatus | None: ...


@dataclass
class Context:
    """One pass over one workflow.

    Attributes:
        now: the time of the pass, whole seconds.
        values: what tags `workflow.*` stand for.
        pods: the pods that should exist, by node id.
        kills: running pods that must end, by node id, with the message for their nodes.
        live: nodes whose pods are being run already; nothing is worked out for them again.
        overdue: whether the workflow's deadline has passed.
        wake_at: when to pass again, whatever happens until then.
        find: reads WorkflowTemplates and ClusterWorkflowTemplates.
        shared: what the workflows have in common.
    """

    workflow: Workflow
    now: datetime
    execute: Execute
    values: dict[str, str | None] = field(default_factory=dict[str, str | None])
    pods: dict[str, PodRequest] = field(default_factory=dict[str, PodRequest])
    kills: dict[str, str] = field(default_factory=dict[str, str])
    live: frozenset[str] = frozenset()
    overdue: bool = False
    wake_at: datetime | None = None
    depth: int = 0
    find: Find = nowhere
    shared: Shared = field(default_factory=Shared)
    nodes: Nodes = field(init=False)
    _templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.workflow, self.now)
        self._templates = Templates(
            self.workflow.spec.templates or [], self.find, self.workflow.status.stored_templates
        )
        self._complete: dict[str, m.Template] = {}

    def template(self, key: str) -> m.Template:
        """A template by its key, with what `templateDefaults` gives it.

        Raises:
            OperationError: there is none.
        """
        if key not in self._complete:
            try:
                self._complete[key] = with_defaults(self._templates.get(key), self.workflow.spec.template_defaults)
            except TemplateMissingError as error:
                raise OperationError(str(error)) from error
        return self._complete[key]

    def template_for(self, call: Call) -> m.Template:
        """The template that a call uses.

        Raises:
            OperationError: there is none.
        """
        if call.inline is None:
            return self.template(call.template)
        name = self.nodes.display_name(call.node_name, call.boundary_id)
        inline = self._templates.keep_inline(call.template, name, call.inline)
        return with_defaults(inline, self.workflow.spec.template_defaults)

    def wake(self, at: datetime) -> None:
        self.wake_at = at if self.wake_at is None else min(at, self.wake_at)


Clock = Callable[[], datetime]
