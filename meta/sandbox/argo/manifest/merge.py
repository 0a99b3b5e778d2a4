"""A workflow's spec over its template's: Kubernetes' strategic merge, and Argo's rules for arguments.

(workflow/util/merge.go, `JoinWorkflowSpec`.)
"""

from __future__ import annotations

from typing import cast

from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.state.status import JsonObject

# Lists whose items are merged by a key (patchMergeKey in workflow_types.go); every other list is replaced.
_MERGED_BY = {
    "templates": "name", "volumes": "name", "parameters": "name", "artifacts": "name", "imagePullSecrets": "name",
    "tolerations": "key", "hostAliases": "ip", "initContainers": "name", "sidecars": "name", "tasks": "name",
    "env": "name", "volumeMounts": "mountPath",
}  # fmt: skip
_KINDS = ("container", "container_set", "script", "dag", "suspend", "data", "http", "plugin", "resource")
_VALUES = ("value", "default", "valueFrom")


def join_specs(workflow: JsonObject, template: JsonObject) -> JsonObject:
    """The spec that is run for a workflow with `workflowTemplateRef`: what the workflow says goes first."""
    joined = cast("JsonObject", _merge(template, workflow))
    joined.pop("suspend", None)  # a template's does not count
    if "suspend" in workflow:
        joined["suspend"] = workflow["suspend"]
    # of a parameter's value, default and valueFrom only those of one place are kept, with the rest of that place
    sources = [{str(p.get("name")): p for p in _parameters(spec) if _has_value(p)} for spec in (template, workflow)]
    whole = sources[0] | sources[1]
    parameters = _parameters(joined)
    for index, parameter in enumerate(parameters):
        if _has_value(parameter):
            parameters[index] = whole[str(parameter.get("name"))]
    return joined


def with_defaults(template: m.Template, defaults: m.Template | None) -> m.Template:
    """A template over `templateDefaults`: the same merge, without what is of another type of template.

    (mergedTemplateDefaultsInto; of metrics, which have no effect here, nothing is kept: they have tags of their own.)
    """
    if template.metrics is not None:
        template = template.model_copy(update={"metrics": None})
    if defaults is None:
        return template
    others = {kind: None for kind in _KINDS if getattr(template, kind) is None}
    base = _written(defaults.model_copy(update={**others, "metrics": None}))
    return m.Template.model_validate(_merge(base, _written(template)))


def _written(template: m.Template) -> JsonObject:
    return cast("JsonObject", template.model_dump(mode="json", by_alias=True, exclude_none=True))


def _parameters(spec: JsonObject) -> list[JsonObject]:
    arguments = cast("JsonObject", spec.get("arguments") or {})
    return cast("list[JsonObject]", arguments.get("parameters") or [])


def _has_value(parameter: JsonObject) -> bool:
    return any(parameter.get(key) is not None for key in _VALUES)


def _merge(base: JsonValue, over: JsonValue, key: str = "") -> JsonValue:
    if isinstance(base, dict) and isinstance(over, dict):
        result: JsonObject = dict(base)
        for name, value in over.items():
            if value not in (None, "", []):  # Go leaves out what is empty
                result[name] = _merge(base.get(name), value, name)
        return result
    merge_key = _MERGED_BY.get(key)
    if merge_key is not None and isinstance(base, list) and isinstance(over, list):
        items = {_key(item, merge_key): item for item in base}
        for item in over:
            items[_key(item, merge_key)] = _merge(items.get(_key(item, merge_key)), item)
        return list(items.values())
    return list(over) if isinstance(over, list) else over


def _key(item: JsonValue, merge_key: str) -> str:
    return str(item.get(merge_key)) if isinstance(item, dict) else repr(item)
