"""Where a Workflow carries the trace context of its attempt, and where it says which trace Argo itself makes of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping

from workers.engines.json_view import child, children, text
from workers.engines.trace_context import objects_in, set_variables, variables
from workflows.values import JsonObject

ANNOTATION_PREFIX = "meta-workflows/"
"""Of the annotations `traceparent`, `tracestate` and `baggage`: Kubernetes leaves names without one to people."""

OWN_TRACE = "workflows.argoproj.io/trace-id"
"""Annotation of the controller from 4.1 on when tracing is switched on (`AnnotationKeyTraceID`, common.go).

A Workflow has no span id beside it; only its pods have (`AnnotationKeySpanID`).
"""
_TRACE_ID = re.compile("[0-9a-f]{32}")


def trace_annotations(trace: Mapping[str, str]) -> dict[str, str]:
    """Annotations of a Workflow; its own templates read them as `{{workflow.annotations.meta-workflows/traceparent}}`.

    Templates on the server cannot: Argo takes no annotations in them but those that they set (validate.go).
    """
    return {ANNOTATION_PREFIX + name: value for name, value in trace.items()}


def with_variables(spec: JsonObject, trace: Mapping[str, str]) -> JsonObject:
    """A Workflow's spec whose own templates give the context to their containers; templates on the server stay theirs.

    An emissary of Argo from 4.1 on sets TRACEPARENT anew in its process where the controller's tracing is switched on
    (`injectTraceParent`, emissary.go); BAGGAGE stays.
    """
    made = copy.deepcopy(spec)
    containers = [one for template in objects_in(made.get("templates")) for one in _containers(template)]
    values = variables(trace, len(containers))
    own = _defaults(made)
    for container in containers:
        set_variables(container, values, own)
    return made


def own_trace(workflow: JsonObject) -> str:
    """Id of the trace that Argo makes of a Workflow itself; empty when it makes none."""
    found = text(workflow, "metadata", "annotations", OWN_TRACE)
    return found if _TRACE_ID.fullmatch(found) and set(found) != {"0"} else ""


def _containers(template: JsonObject) -> Iterator[JsonObject]:
    """All containers of a template and of those that stand inline in its steps and tasks."""
    for kind in ("container", "script"):
        if isinstance(found := template.get(kind), dict):
            yield found
    together = template.get("containerSet")
    for several in (together.get("containers") if isinstance(together, dict) else None,
                    template.get("initContainers"), template.get("sidecars")):  # fmt: skip
        yield from objects_in(several)
    dag, groups = template.get("dag"), template.get("steps")
    calls = list(objects_in(dag.get("tasks"))) if isinstance(dag, dict) else []
    for group in groups if isinstance(groups, list) else []:
        calls += objects_in(group)
    for call in calls:
        if isinstance(inline := call.get("inline"), dict):
            yield from _containers(inline)


def _defaults(spec: JsonObject) -> frozenset[str]:
    """Variables that `templateDefaults` sets; Argo merges them into every template, below the template's own."""
    places = [children(child(spec, "templateDefaults", kind), "env") for kind in ("container", "script")]
    return frozenset(text(one, "name") for env in places for one in env)
