"""What a sensor's trigger does, as a step: it creates or submits a Workflow, or starts a KFP run over HTTP."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from meta.importing.documents import At
from meta.importing.draft import DefinitionDraft, StepDraft
from meta.importing.events import Dependency
from meta.importing.kfp_body import Pipelines, is_start, kfp_step
from meta.importing.parameters import Events, Parameter, by_place, given_by, not_a_place, parameters_of
from meta.importing.paths import NotCarried
from meta.importing.places import keys_of, put
from meta.importing.report import Report
from meta.importing.resource import Resource, apply, make_standalone, resource_of
from meta.importing.values import escaped
from workflows.manifests.view import obj, text
from workflows.values import JsonObject, JsonValue

_TEMPLATE = frozenset({"name", "conditions", "conditionsReset"})
_ARGO = frozenset({"source", "operation", "parameters", "args"})
_K8S = frozenset({"source", "operation", "parameters", "patchStrategy", "liveObject"})
_HTTP = frozenset(
    {"url", "payload", "tls", "method", "parameters", "timeout", "basicAuth", "headers", "secureHeaders",
     "dynamicHeaders", "host"}
)  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What the triggers of a sensor share that become one definition.

    Attributes:
        draft: the definition.
        pipelines: names of KFP's by id.
    """

    dependencies: Mapping[str, Dependency]
    draft: DefinitionDraft
    pipelines: Pipelines
    report: Report

    @property
    def events(self) -> Events:
        return Events(self.dependencies, list(self.draft.triggers))


def step_of(at: At, name: str, context: Context) -> StepDraft:
    """The step that does what a trigger does; what events decide becomes inputs of the draft.

    Raises:
        NotCarried: it does something else than to start an engine run.
    """
    template = at["template"]
    kinds = [key for key, _ in template.entries() if key not in _TEMPLATE]
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        raise NotCarried(f"it is of kind {', '.join(kinds) or 'none'}, which starts no engine run")
    (kind,) = kinds
    return _KINDS[kind](at, name, context)


def _argo_workflow(at: At, name: str, context: Context) -> StepDraft:
    action, report = at["template"]["argoWorkflow"], context.report
    report.unknown(action, _ARGO, "an argoWorkflow trigger")
    operation = action.text("operation") or "submit"
    outer = parameters_of(at["parameters"], report, "argoWorkflow.source.resource.")
    changes = [*outer, *parameters_of(action["parameters"], report)]
    resource = resource_of(action["source"])
    if operation == "submit":
        step = _workflow(resource, name, changes, context)
    elif operation == "submit-from":
        not_a_place(changes, report, "submit-from takes the arguments of its template, and the sensor changes a copy")
        step = _from_template(resource, name)
    else:
        raise NotCarried(f"it does '{operation}' with a Workflow that runs, and starts none")
    _command_line(action["args"], step, report)
    return step


def _k8s(at: At, name: str, context: Context) -> StepDraft:
    action, report = at["template"]["k8s"], context.report
    report.unknown(action, _K8S, "a k8s trigger")
    operation = action.text("operation") or "create"
    if operation != "create":
        raise NotCarried(f"it does '{operation}' with a resource, and starts none")
    outer = parameters_of(at["parameters"], report, "k8s.source.resource.")
    changes = [*outer, *parameters_of(action["parameters"], report)]
    return _workflow(resource_of(action["source"]), name, changes, context)


def _workflow(resource: Resource, name: str, changes: list[Parameter], context: Context) -> StepDraft:
    if (kind := text(resource.document, "kind")) != "Workflow":
        raise NotCarried(f"it creates a {kind}, which is no run")
    make_standalone(resource, context.report)
    apply(resource, changes, context.report)
    step = resource.step(name)
    for parameter, existing, by in resource.places:
        given = given_by(parameter, existing, by, context.events, context.report)
        step.parameters[parameter] = context.draft.take(given, name)
    return step


def _from_template(resource: Resource, name: str) -> StepDraft:
    kind, source = text(resource.document, "kind").lower(), text(obj(resource.document, "metadata"), "name")
    keys = {"workflowtemplate": "template", "cronworkflow": "cronWorkflow"}
    if kind not in keys or not source:
        raise NotCarried(f"it submits from a {kind or 'resource'} {source}".rstrip())
    return StepDraft(name, {"argo": {keys[kind]: source}})


def _command_line(at: At, step: StepDraft, report: Report) -> None:
    """Options of `argo submit`."""
    words = [str(one.value) for one in at.items()]
    pairs = [word for text in words for word in (shlex.split(text) if text.startswith("-") else [text])]
    source = step.source["argo"]
    i = 0
    while i < len(pairs):
        option, equals, value = pairs[i].partition("=")
        takes_next = not equals and i + 1 < len(pairs)
        value = pairs[i + 1] if takes_next else value
        if option in ("-p", "--parameter") and "=" in value:
            key, _, constant = value.partition("=")
            step.parameters[key] = escaped(constant)
        elif option in ("--serviceaccount", "--service-account") and value and isinstance(source, dict):
            source["serviceAccount"] = value
        else:
            report.left_out(at, f"'{pairs[i]}' of the options of `argo submit`", "set it in the manifest")
            takes_next = takes_next and not value.startswith("-")
        i += 2 if takes_next else 1


def _http(at: At, name: str, context: Context) -> StepDraft:
    action, report = at["template"]["http"], context.report
    report.unknown(action, _HTTP, "an http trigger")
    url, method = action.text("url"), action.text("method") or "POST"
    if not is_start(method, url):
        raise NotCarried(f"it does {method} {url}, which starts no KFP run (POST .../apis/v2beta1/runs)")
    for one in parameters_of(at["parameters"], report, "http."):
        report.left_out(one.at, f"a parameter changes '{one.dest}' of the request", "an event chooses inputs only")
    for one in action["parameters"].items():
        report.left_out(one, f"a parameter changes '{one.text('dest')}' of the request", "an event chooses inputs only")
    for key in ("basicAuth", "headers", "secureHeaders", "dynamicHeaders", "tls", "host"):
        if key in action:
            report.differs(
                action[key], f"{key} of the request; here the engine in meta.toml says how KFP is asked",
                "see [engines.<name>] in docs/configuration.md",
            )  # fmt: skip
    body = _body(parameters_of(action["payload"], report), name, context)
    return kfp_step(body, action["payload"], name, context.pipelines, report)


def _body(parameters: Sequence[Parameter], step: str, context: Context) -> JsonObject:
    """The body that the payload makes, with templates over inputs for what events decide."""
    body: JsonObject = {}
    for dest, changes in by_place(parameters).items():
        if not dest:
            body.update(_whole(changes[-1]))
            continue
        name = dest.rpartition(".")[2]
        if (constant := changes[-1].constant) is not None:
            raw = changes[-1].at["src"].flag("useRawData")
            value: JsonValue = _parsed(constant) if raw else constant
            put(body, keys_of(dest, body), value)
            continue
        given = given_by(name, None, changes, context.events, context.report)
        if given.values or not context.draft.triggers:
            put(body, keys_of(dest, body), context.draft.take(given, step))
    return body


def _whole(parameter: Parameter) -> JsonObject:
    """The body of a payload parameter without a destination."""
    found = _parsed(parameter.constant or "")
    if not isinstance(found, dict):
        raise NotCarried("the whole request is taken from the event, which chooses inputs only")
    return found


def _parsed(text: str) -> JsonValue:
    try:
        return json.loads(text)
    except ValueError:
        return text


_KINDS: dict[str, Callable[[At, str, Context], StepDraft]] = {
    "argoWorkflow": _argo_workflow,
    "k8s": _k8s,
    "http": _http,
}
