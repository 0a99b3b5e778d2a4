"""Which template a call means: by name, by reference to a template object, or written in place.

(workflow/templateresolution/context.go.) A *key* says it in one string, wherever it is read:

    name                          a template of the workflow itself
    namespaced/holder name        a template by its name, said inside a WorkflowTemplate (`cluster/`: a cluster's)
    SCOPE>namespaced/holder/name  a `templateRef`; SCOPE is where it was said, nothing for the workflow
    KEY#step                      the `inline` template of a step or task of the template KEY

Templates handed out have their calls' keys in `template`, so that whoever runs a call needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from hera.workflows import models as m

from meta.sandbox.argo.state.objects import Kind, TemplateObject
from meta.sandbox.argo.state.status import JsonObject

_KINDS = {"namespaced": Kind.WORKFLOW_TEMPLATE, "cluster": Kind.CLUSTER_WORKFLOW_TEMPLATE}
Find = Callable[[Kind, str], TemplateObject | None]
_CallT = TypeVar("_CallT", m.WorkflowStep, m.DAGTask, m.LifecycleHook)


class TemplateMissingError(Exception):
    """There is no such template, or no such template object; in the controller's words."""


@dataclass(frozen=True, slots=True)
class Use:
    """A key, taken apart.

    Attributes:
        scope: where it was said: `kind/holder`, empty for the workflow.
        name: of a template by name; empty for the others.
        holder: `kind/name` of the object that has the template; empty for the workflow.
        template: the template's own name; empty for an inline one.
        parent: the key of the template in which an inline one stands.
        step: the step or task of an inline template.
    """

    scope: str
    name: str = ""
    holder: str = ""
    template: str = ""
    parent: str = ""
    step: str = ""

    @property
    def is_reference(self) -> bool:
        return not self.name and not self.step

    @property
    def stored_as(self) -> str | None:
        """The key in `status.storedTemplates`; None for what the workflow itself holds."""
        return f"{self.holder}/{self.template}" if self.holder and not self.step else None


def read_key(key: str) -> Use:
    """Take a key apart."""
    if "#" in key:
        parent, _, step = key.rpartition("#")
        scope = read_key(parent).holder
        return Use(scope, holder=scope, parent=parent, step=step)
    if ">" in key:
        scope, _, reference = key.partition(">")
        holder, _, template = reference.rpartition("/")
        return Use(scope, holder=holder, template=template)
    scope, _, name = key.rpartition(" ")
    return Use(scope, name=name, holder=scope, template=name)


def named_key(scope: str, name: str) -> str:
    return f"{scope} {name}" if scope else name


def reference_key(scope: str, reference: m.TemplateRef) -> str:
    kind = "cluster" if reference.cluster_scope else "namespaced"
    return f"{scope}>{kind}/{reference.name}/{reference.template}"


def template_ref(use: Use) -> m.TemplateRef | None:
    """`templateRef` of a node, for a key that is one."""
    if not use.is_reference:
        return None
    kind, _, holder = use.holder.partition("/")
    return m.TemplateRef(name=holder, template=use.template, cluster_scope=True if kind == "cluster" else None)


def template_of(key: str) -> str:
    """The template's own name, as pods are named by it; empty for an inline one."""
    return read_key(key).template


def _keyed(call: _CallT, scope: str, parent: str) -> _CallT:
    update: dict[str, object] = {}
    if call.template_ref is not None:
        update = {"template": reference_key(scope, call.template_ref), "template_ref": None}
    elif isinstance(call, (m.WorkflowStep, m.DAGTask)) and call.inline is not None:
        update = {"template": f"{parent}#{call.name}"}
    elif call.template and scope:
        update = {"template": named_key(scope, call.template)}
    if isinstance(call, (m.WorkflowStep, m.DAGTask)):
        if call.on_exit and scope:
            update["on_exit"] = named_key(scope, call.on_exit)
        if call.hooks:
            hooks = {name: _keyed(hook, scope, parent) for name, hook in call.hooks.items()}
            if any(hooks[name] is not hook for name, hook in call.hooks.items()):
                update["hooks"] = hooks
    return call.model_copy(update=update) if update else call


class _Change(Protocol):
    def __call__(self, call: _CallT, /) -> _CallT: ...


def _with_calls(template: m.Template, change: _Change) -> m.Template:
    """The template with its steps or tasks changed; the very same where none is."""
    calls = calls_of(template)
    if template.steps is not None:
        groups = [m.ParallelSteps([change(step) for step in group.root]) for group in template.steps]
        changed: list[m.WorkflowStep | m.DAGTask] = [step for group in groups for step in group.root]
        update: dict[str, object] = {"steps": groups}
    elif template.dag is not None:
        tasks = [change(task) for task in template.dag.tasks]
        changed = [*tasks]
        update = {"dag": template.dag.model_copy(update={"tasks": tasks})}
    else:
        return template
    same = all(new is old for new, old in zip(changed, calls, strict=True))
    return template if same else template.model_copy(update=update)


def _with_keys(template: m.Template, key: str) -> m.Template:
    scope = read_key(key).holder
    if not scope and not any(call.template_ref or call.inline or call.hooks for call in calls_of(template)):
        return template

    def keyed(call: _CallT, /) -> _CallT:
        return _keyed(call, scope, key)

    return _with_calls(template, keyed)


class Templates:
    """The templates that a workflow can reach."""

    def __init__(
        self, local: Iterable[m.Template], find: Find, stored: MutableMapping[str, JsonObject] | None = None
    ) -> None:
        """Make a view.

        Args:
            local: the workflow's own templates.
            find: reads WorkflowTemplates and ClusterWorkflowTemplates.
            stored: `status.storedTemplates`: what was read once stays as it was then.
        """
        self._local = {template.name: template for template in local if template.name}
        self._find = find
        self._stored: MutableMapping[str, JsonObject] = {} if stored is None else stored
        self._ready: dict[str, m.Template] = {}

    def get(self, key: str) -> m.Template:
        """The template of a key, its calls with keys.

        Raises:
            TemplateMissingError: there is none.
        """
        if key not in self._ready:
            self._ready[key] = _with_keys(self._read(read_key(key)), key)
        return self._ready[key]

    def keep_inline(self, key: str, name: str, template: m.Template) -> m.Template:
        """An inline template as a step or task of that name had it first; a workflow's own are not kept."""
        scope = read_key(key).scope
        if not scope:
            return template
        body = template.model_dump(mode="json", by_alias=True, exclude_none=True)
        return m.Template.model_validate(self._stored.setdefault(f"{scope}/inline/{name}", cast("JsonObject", body)))

    def _read(self, use: Use) -> m.Template:
        stored_as = use.stored_as
        if stored_as is not None and stored_as in self._stored:
            return m.Template.model_validate(self._stored[stored_as])
        template = self._inline(use) if use.step else self._held(use)
        if stored_as is not None:
            body = template.model_dump(mode="json", by_alias=True, exclude_none=True)
            self._stored[stored_as] = cast("JsonObject", body)
        return template

    def _held(self, use: Use) -> m.Template:
        if not use.holder:
            if use.name not in self._local:
                raise TemplateMissingError(f"template {use.name} not found")
            return self._local[use.name]
        kind, _, holder = use.holder.partition("/")
        found = self._find(_KINDS[kind], holder)
        if found is None:
            raise TemplateMissingError(f"workflow template {holder} not found")
        for template in found.spec.templates or []:
            if template.name == use.template:
                return template
        where = f" in workflow template {holder}" if use.is_reference else ""
        raise TemplateMissingError(f"template {use.template} not found{where}")

    def _inline(self, use: Use) -> m.Template:
        for call in calls_of(self.get(use.parent)):
            if call.name == use.step and call.inline is not None:
                return call.inline
        raise TemplateMissingError(f"template {use.parent} has no inline template in {use.step}")


def without_inline(template: m.Template) -> m.Template:
    """The template without what its calls have in place."""
    return _with_calls(template, _bare)


def _bare(call: _CallT, /) -> _CallT:
    inline = isinstance(call, (m.WorkflowStep, m.DAGTask)) and call.inline is not None
    return call.model_copy(update={"inline": None}) if inline else call


def calls_of(template: m.Template) -> list[m.WorkflowStep | m.DAGTask]:
    """The steps or tasks of a template."""
    if template.steps is not None:
        return [step for group in template.steps for step in group.root]
    return list(template.dag.tasks) if template.dag is not None else []


def nowhere(kind: Kind, name: str) -> None:
    """A `Find` where there are no template objects."""
    del kind, name
