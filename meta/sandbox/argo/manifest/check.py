"""What the real server checks before it takes a workflow (workflow/validate/validate.go), in its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hera.workflows import models as m

from meta.sandbox.argo.expressions import ExpressionError, check_expression
from meta.sandbox.argo.manifest.merge import with_defaults
from meta.sandbox.argo.manifest.pods import CannotRun, check_pod, check_volumes
from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.manifest.tags import TagCheck, calls_scope, template_scope
from meta.sandbox.argo.operator.arguments import has_location
from meta.sandbox.argo.operator.config_maps import from_config_map
from meta.sandbox.argo.operator.depends import (
    DependsError,
    Outcome,
    dependencies,
    depends_logic,
    evaluate_depends,
    items_needed,
)
from meta.sandbox.argo.operator.expand import expands
from meta.sandbox.argo.operator.hooks import EXIT, keyed_hook
from meta.sandbox.argo.operator.retries import POLICIES
from meta.sandbox.argo.operator.tags import find_tags
from meta.sandbox.argo.operator.templates import (
    Find,
    TemplateMissingError,
    Templates,
    calls_of,
    nowhere,
    read_key,
    without_inline,
)
from meta.sandbox.argo.operator.when import WhenError, evaluate_when
from meta.sandbox.argo.resources.check import check_resource
from meta.sandbox.argo.state.status import Phase

_KINDS = {
    "container": "container", "container_set": "containerSet", "script": "script", "steps": "steps", "dag": "dag",
    "suspend": "suspend", "resource": "resource", "http": "http",
}  # fmt: skip
LEAVES = frozenset({"container", "container_set", "script"})
_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_VALUE_NAME = re.compile(r"[-a-zA-Z0-9_]+")  # of a parameter or an artifact


@dataclass(frozen=True, slots=True)
class Rules:
    """What is checked less strictly.

    Attributes:
        open_values: arguments may lack values: they come when it is submitted.
        template: the spec is a template's: it may have no entrypoint, and its users may bring parameters of theirs.
    """

    open_values: bool = False
    template: bool = False


@dataclass(frozen=True, slots=True)
class _Outer:
    """What surrounds the call that is being checked."""

    spec: m.WorkflowSpec
    templates: Templates
    rules: Rules

    def template_of(self, call: m.WorkflowStep | m.DAGTask) -> m.Template | None:
        """What a call uses; None where that shows only at run time."""
        key = call.template or ""
        return None if find_tags(key) else self.templates.get(key)


STRICT = Rules()
LINT = Rules(open_values=True)
TEMPLATE = Rules(open_values=True, template=True)


def check_spec(spec: m.WorkflowSpec, cannot_run: CannotRun, find: Find = nowhere, rules: Rules = STRICT) -> None:
    """Check a whole spec.

    Args:
        spec: the parsed spec.
        cannot_run: why an image cannot run a command, or its own for None; empty when it can.
        find: reads WorkflowTemplates and ClusterWorkflowTemplates.
        rules: what it is checked as.

    Raises:
        ManifestError: the first thing that is wrong, with its place.
    """
    local = spec.templates or []
    _unique("spec.templates", (t.name for t in local))
    for template in local:
        for call in calls_of(template):
            _check_reference(f"templates.{template.name}.{call.name}", call)
    templates = Templates(local, find)
    if not spec.entrypoint and not rules.template:
        raise ManifestError("spec.entrypoint is required")
    for parameter in (spec.arguments.parameters if spec.arguments else None) or []:
        _check_argument("spec.arguments", parameter, open_values=rules.open_values)
    for artifact in (spec.arguments.artifacts if spec.arguments else None) or []:
        if not has_location(artifact):
            raise ManifestError(f"spec.arguments.{artifact.name}.from, artifact location, or key is required")
    for place, name in (("entrypoint", spec.entrypoint), ("onExit", spec.on_exit)):
        if name:
            supplied = None if rules.open_values else spec.arguments
            _check_call(f"spec.{place}", name, supplied, templates, every=False, inputs=not rules.open_values)
    hooks = {name: keyed_hook(hook) for name, hook in (spec.hooks or {}).items()}
    _check_hooks("spec", None, hooks, _Outer(spec, templates, rules))
    check_volumes("spec.volumes", spec.volumes)
    _check_retry("spec", spec.retry_strategy)
    _check_retry("spec.templateDefaults", spec.template_defaults.retry_strategy if spec.template_defaults else None)
    _check_labels(spec.workflow_metadata)
    keys, seen = [template.name or "" for template in local], set[str]()
    keys += [hook.template for hook in hooks.values() if hook.template]
    while keys:  # also what they call elsewhere: it sees this workflow's parameters
        key = keys.pop(0)
        if key not in seen and not find_tags(key):
            seen.add(key)
            _check_template(key, spec, templates, cannot_run, rules)
            calls = calls_of(templates.get(key))
            hooks = [hook for call in calls for hook in (call.hooks or {}).values()]
            keys += [call.template for call in (*calls, *hooks) if call.template]
            keys += [call.on_exit for call in calls if call.on_exit]


def _check_labels(metadata: m.WorkflowMetadata | None) -> None:
    for label, source in ((metadata.labels_from if metadata else None) or {}).items():
        _check_expression(f"spec.workflowMetadata.labelsFrom.{label}.expression", source.expression)


def _unique(place: str, names: Iterable[str | None]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name:
            raise ManifestError(f"{place}[{index}].name is required")
        if not _NAME.fullmatch(name):
            raise ManifestError(f"{place}[{index}].name: '{name}' is invalid: use letters, digits and '-'")
        if name in seen:
            raise ManifestError(f"{place}[{index}].name '{name}' is not unique")
        seen.add(name)


def _check_names(place: str, values: Sequence[m.Parameter | m.Artifact] | None) -> None:
    seen: set[str] = set()
    for index, name in enumerate(value.name for value in values or []):
        if not _VALUE_NAME.fullmatch(name):
            raise ManifestError(
                f"{place}[{index}].name: '{name}' is invalid: Parameter/Artifact name must consist of alpha-numeric "
                "characters, '_' or '-' e.g. my_param_1, MY-PARAM-1"
            )
        if name in seen:
            raise ManifestError(f"{place}[{index}].name '{name}' is not unique")
        seen.add(name)


def _check_reference(place: str, call: m.WorkflowStep | m.DAGTask) -> None:
    reference = call.template_ref
    if call.inline is not None and (call.template or reference is not None):
        raise ManifestError(f"{place} template and templateRef cannot be specified with inline")
    if reference is None:
        return
    if call.template:
        raise ManifestError(f"{place} template name cannot be specified with templateRef.")
    for what, value in (("resource", reference.name), ("template", reference.template)):
        if not value:
            raise ManifestError(f"{place} {what} name is required")


def _check_template(key: str, spec: m.WorkflowSpec, templates: Templates, cannot_run: CannotRun, rules: Rules) -> None:
    template = templates.get(key)
    use = read_key(key)
    place = f"templates.{template.name}"
    if use.step:
        place = f"templates.{read_key(use.parent).template}.{use.step}.inline"
    kinds = [k for k in _KINDS if getattr(template, k) is not None]
    if len(kinds) != 1:
        what = "template type unspecified" if not kinds else "multiple template types specified"
        raise ManifestError(f"{place} {what}. choose one of: {', '.join(_KINDS.values())}")
    leaf = kinds[0] in LEAVES
    if leaf:
        check_pod(place, with_defaults(template, spec.template_defaults), spec, cannot_run)
    elif kinds[0] == "resource":
        check_resource(place, template)
    elif kinds[0] == "http":
        _check_http(place, template)
    elif template.active_deadline_seconds is not None and kinds[0] != "suspend":
        raise ManifestError(f"{place}.activeDeadlineSeconds is only valid for leaf templates")
    _check_limits(place, _KINDS[kinds[0]], template)
    check_volumes(f"{place}.volumes", template.volumes)
    _check_retry(place, template.retry_strategy)
    _check_values(place, template, kinds[0])
    outer = _Outer(spec, templates, rules)
    scope = template_scope(template, spec, more_parameters=rules.template)
    if use.step:  # the calling template's tags are replaced in it too
        caller = templates.get(use.parent)
        scope |= template_scope(caller, spec, more_parameters=rules.template) | calls_scope(caller, outer.template_of)
    if template.steps is not None:
        groups = [list(group.root) for group in template.steps]
        steps = [step for group in groups for step in group]
        _unique(f"{place}.steps", (step.name for step in steps))
        for step in steps:
            _check_use(f"{place}.steps.{step.name}", step, outer)
    elif template.dag is not None:
        _check_dag(place, template.dag, outer)
    TagCheck(place, without_inline(with_defaults(template, None)), scope, outer.template_of).run()


_NOT_OF_HTTP = ("activeDeadlineSeconds", "initContainers", "sidecars", "volumes", "archiveLocation", "outputs")


def _check_http(place: str, template: m.Template) -> None:
    given = template.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    for name in _NOT_OF_HTTP:
        if given.get(name):
            raise ManifestError(f"{place}.{name} of an http template is not supported by the sandbox")
    condition = template.http.success_condition if template.http else None
    if condition and not find_tags(condition):
        try:
            check_expression(condition, {"request", "response"})
        except ExpressionError as error:
            raise ManifestError(f"{place}.http.successCondition: {error}") from error


def _check_limits(place: str, kind: str, template: m.Template) -> None:
    if template.timeout:
        if kind in {"steps", "dag", "suspend"}:
            raise ManifestError(f"{place}: {kind.capitalize()} template doesn't support timeout field")
        if template.timeout.isdigit():
            raise ManifestError(f"{place}: {template.name} has invalid duration format in timeout")
    if template.parallelism is not None and kind not in {"steps", "dag"}:
        raise ManifestError(f"{place}.parallelism is only valid for steps and dag templates")


def _check_retry(place: str, strategy: m.RetryStrategy | None) -> None:
    if strategy is None:
        return
    if strategy.retry_policy is not None and strategy.retry_policy not in POLICIES:
        raise ManifestError(f"{place}: {strategy.retry_policy} is not a valid RetryPolicy")
    if strategy.backoff is not None and not strategy.backoff.duration:
        raise ManifestError(f"{place}.retryStrategy: no base duration specified for retryStrategy")
    _check_expression(f"{place}.retryStrategy.expression", strategy.expression)


def _check_expression(place: str, expression: str | None) -> None:
    if not expression or find_tags(expression):  # tags are replaced first
        return
    try:
        check_expression(expression)
    except ExpressionError as error:
        raise ManifestError(f"{place}: {error}") from error


def _check_hooks(place: str, on_exit: str | None, hooks: Mapping[str, m.LifecycleHook] | None, outer: _Outer) -> None:
    spec, templates, known = outer.spec, outer.templates, not outer.rules.open_values
    if on_exit:
        _check_call(f"{place}.onExit", on_exit, spec.arguments, templates, every=False, inputs=known)
    for name, hook in (hooks or {}).items():
        if name != EXIT and not hook.expression:
            raise ManifestError(f"{place}.hooks.{name} Expression required")
        _check_expression(f"{place}.hooks.{name}.expression", hook.expression)
        arguments = hook.arguments if hook.arguments or name != EXIT else spec.arguments
        _check_call(f"{place}.hooks.{name}", hook.template or "", arguments, templates, every=False, inputs=known)


def _check_value_names(place: str, inputs: m.Inputs, outputs: m.Outputs, *, leaf: bool) -> None:
    for where, values in (("inputs", inputs), ("outputs", outputs)):
        _check_names(f"{place}.{where}.parameters", values.parameters)
        _check_names(f"{place}.{where}.artifacts", values.artifacts)
    loaded: dict[str | None, str] = {}
    for index, artifact in enumerate(inputs.artifacts or []):
        if leaf and (before := loaded.setdefault(artifact.path, artifact.name)) != artifact.name:
            at = f"{place}.inputs.artifacts[{index}].path '{artifact.path}'"
            raise ManifestError(f"{at} already mounted in inputs.artifacts.{before}")


def _check_values(place: str, template: m.Template, kind: str) -> None:
    leaf = kind in LEAVES
    inputs, outputs = template.inputs or m.Inputs(), template.outputs or m.Outputs()
    _check_value_names(place, inputs, outputs, leaf=leaf)
    for parameter in inputs.parameters or []:
        if parameter.value_from is not None and not _only_config_map(parameter.value_from):
            raise ManifestError(
                f"{place}.inputs.parameters.{parameter.name}.valueFrom is supported by the sandbox with "
                "configMapKeyRef and default only"
            )
    for artifact in inputs.artifacts or []:
        if artifact.from_ or artifact.from_expression:
            raise ManifestError(f"{place}.inputs.artifacts.{artifact.name}.from not valid in inputs")
        if leaf != bool(artifact.path):
            verb = "must be specified" if leaf else "only valid"
            raise ManifestError(f"{place}.inputs.artifacts.{artifact.name}.path {verb} in container/script templates")
    for parameter in outputs.parameters or []:
        if kind == "resource" and parameter.value_from is None:
            continue  # the executor leaves it as it is
        _check_source(f"{place}.outputs.parameters.{parameter.name}", parameter.value_from or m.ValueFrom(), kind)
    for artifact in outputs.artifacts or []:
        _check_expression(f"{place}.outputs.artifacts.{artifact.name}.fromExpression", artifact.from_expression)
        wanted, found = ("path", artifact.path) if leaf else ("from", artifact.from_ or artifact.from_expression)
        if not found:
            raise ManifestError(f"{place}.outputs.artifacts.{artifact.name}.{wanted} must be specified")
        for source in ("raw", "git"):
            if getattr(artifact, source) is not None:
                raise ManifestError(f"{place}.outputs.artifacts.{artifact.name}.{source} is not valid in outputs")


_SOURCES = {**dict.fromkeys(LEAVES, ("path",)), "suspend": ("supplied",), "resource": ("jsonPath",)}
_CHOICES = {"path": "path", "parameter": "parameter", "expression": "expression", "supplied": "supplied",
            "jsonPath": "json_path"}  # fmt: skip


def _check_source(place: str, source: m.ValueFrom, kind: str) -> None:
    given = [choice for choice, field in _CHOICES.items() if getattr(source, field) is not None]
    if len(given) > 1:
        raise ManifestError(f"{place}: multiple valueFrom types specified. choose one of: {', '.join(given)}")
    wanted = _SOURCES.get(kind, ("parameter", "expression"))
    if not given or given[0] not in wanted:
        raise ManifestError(f"{place}.{' or '.join(wanted)} must be specified for {kind} templates")
    _check_expression(f"{place}.valueFrom.expression", source.expression)


def _check_use(place: str, call: m.WorkflowStep | m.DAGTask, outer: _Outer) -> None:
    templates = outer.templates
    _check_hooks(place, call.on_exit, call.hooks, outer)
    for artifact in (call.arguments.artifacts if call.arguments else None) or []:
        _check_expression(f"{place}.arguments.artifacts.{artifact.name}.fromExpression", artifact.from_expression)
    if sum(map(bool, (call.with_items, call.with_param, call.with_sequence))) > 1:
        raise ManifestError(f"{place} only one of withItems, withParam, withSequence can be specified")
    if call.with_sequence is not None and call.with_sequence.count is not None and call.with_sequence.end is not None:
        raise ManifestError(f"{place} only one of count or end can be defined in withSequence")
    _check_call(place, call.template or "", call.arguments, templates)
    if call.when and not find_tags(call.when):
        try:
            evaluate_when(call.when)
        except WhenError as error:
            raise ManifestError(f"{place} {error}") from error


def _check_call(
    place: str, key: str, arguments: m.Arguments | None, templates: Templates, *, every: bool = True,
    inputs: bool = True,
) -> None:  # fmt: skip
    """A template that exists, with every input it needs; `every`: and no argument left over without a value."""
    if find_tags(key):
        return  # which one it is shows when it runs
    try:
        template = templates.get(key)
    except TemplateMissingError as error:
        use = read_key(key)
        what = f"template name '{use.template}' undefined"
        if use.is_reference:
            what = f"template reference {use.holder.partition('/')[2]}.{use.template} not found"
        raise ManifestError(f"{place} {what}") from error
    if inputs:
        _check_arguments(place, template, arguments, every=every)


def _check_arguments(place: str, template: m.Template, arguments: m.Arguments | None, *, every: bool) -> None:
    arguments, inputs = arguments or m.Arguments(), template.inputs or m.Inputs()
    given = {p.name for p in arguments.parameters or [] if p.value is not None or from_config_map(p)}
    for parameter in inputs.parameters or []:
        has_value = parameter.value is not None or parameter.default is not None or from_config_map(parameter)
        if parameter.name not in given and not has_value:
            raise ManifestError(f"{place} inputs.parameters.{parameter.name} was not supplied")
    given = {a.name for a in arguments.artifacts or []}
    for artifact in inputs.artifacts or []:
        if artifact.name not in given and not artifact.optional and not has_location(artifact):
            raise ManifestError(f"{place} inputs.artifacts.{artifact.name} was not supplied")
    for artifact in (arguments.artifacts or []) if every else []:
        if not artifact.from_ and not artifact.from_expression and not has_location(artifact):
            raise ManifestError(
                f"{place} arguments.artifacts.{artifact.name}.from, artifact location, or key is required"
            )
    for parameter in (arguments.parameters or []) if every else []:
        _check_argument(f"{place} arguments.parameters", parameter)


def _check_argument(place: str, parameter: m.Parameter, *, open_values: bool = False) -> None:
    source = parameter.value_from
    if parameter.value is None and source is None and not open_values:
        name = f"{place}.{parameter.name}"
        raise ManifestError(f"{name}.value or {name}.valueFrom is required")
    if source is not None and not _only_config_map(source):
        raise ManifestError(f"{place}.{parameter.name}.valueFrom: the sandbox has default and configMapKeyRef only")
    if parameter.enum is not None:
        name = f"{place}.{parameter.name}"
        if not parameter.enum:
            raise ManifestError(f"{name}.enum should contain at least one value")
        if parameter.value is None and not open_values:
            raise ManifestError(f"{name}.value is required")
        if parameter.value is not None and parameter.value not in parameter.enum:
            raise ManifestError(f"{name}.value should be present in {name}.enum list")


def _only_config_map(source: m.ValueFrom) -> bool:
    return source.config_map_key_ref is not None and not any(
        getattr(source, field) is not None for field in _CHOICES.values()
    )


def _check_dag(place: str, dag: m.DAGTemplate, outer: _Outer) -> None:
    if not dag.tasks:
        raise ManifestError(f"{place} must have at least one task")
    _unique(f"{place}.tasks", (task.name for task in dag.tasks))
    tasks = {task.name: task for task in dag.tasks}
    uses_depends = any(task.depends for task in dag.tasks)
    needs: dict[str, list[str]] = {}
    for task in dag.tasks:
        if uses_depends and task.dependencies:
            raise ManifestError(f"{place} cannot use both 'depends' and 'dependencies' in the same DAG template")
        if uses_depends and task.continue_on:
            raise ManifestError(
                f"{place} cannot use 'continueOn' when using 'depends'. "
                "Instead use 'dep-task.Failed'/'dep-task.Errored'"
            )
        try:
            logic = depends_logic(task, tasks)
            needs[task.name] = dependencies(logic)
            if logic:
                evaluate_depends(logic, dict.fromkeys(needs[task.name], Outcome(Phase.SUCCEEDED)), tasks)
        except DependsError as error:
            raise ManifestError(f"{place}.tasks.{task.name} {error}") from error
        for need in needs[task.name]:
            if need not in tasks:
                raise ManifestError(f"{place}.tasks.{task.name} dependency '{need}' not defined")
        for need in items_needed(logic):
            if not expands(tasks[need]):
                raise ManifestError(
                    f"{place}.tasks.{task.name} dependency '{need}' uses an items-based condition such as "
                    ".AnySucceeded or .AllFailed but does not contain any items"
                )
        _check_use(f"{place}.tasks.{task.name}", task, outer)
    for target in (dag.target or "").split():
        if target not in tasks and not find_tags(target):
            raise ManifestError(f"{place}.targets: target '{target}' is not defined")
    _check_cycles(place, needs)


def _check_cycles(place: str, needs: Mapping[str, list[str]]) -> None:
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, True)]
        while stack:
            name, entering = stack.pop()
            if not entering:
                path.pop()
                done.add(name)
            elif name in path:
                raise ManifestError(
                    f"{place} dependency cycle detected: {'->'.join([*path[path.index(name) :], name])}"
                )
            elif name not in done:
                path.append(name)
                stack.append((name, False))
                stack.extend((need, True) for need in needs[name])
