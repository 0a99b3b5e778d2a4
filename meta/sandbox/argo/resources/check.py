"""What is refused of a resource template when the workflow is created, with what the server itself checks."""

from __future__ import annotations

import re

from hera.workflows import models as m

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.manifest.supported import check_fields
from meta.sandbox.argo.operator.tags import find_tags
from meta.sandbox.argo.resources.command import ACTIONS, STRATEGIES, read_flags, read_manifest
from meta.sandbox.argo.resources.jsonpath import JsonPathError, check_json_path
from meta.sandbox.argo.resources.kinds import KubectlError, kind_called, kind_of

_TAG = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_UNKNOWN = "unknown-before-it-runs"
_POD_FIELDS = ("init_containers", "sidecars", "volumes", "archive_location")  # of a process, which there is none


def check_resource(place: str, template: m.Template) -> None:
    """Check a template whose tags are not replaced yet; what they hide shows when it runs.

    Raises:
        ManifestError: it is refused.
    """
    resource = template.resource
    assert resource is not None  # it is one
    for field in _POD_FIELDS:
        if getattr(template, field) is not None:
            name = m.Template.model_fields[field].alias or field
            raise ManifestError(f"{place}.{name} of a resource template is not supported by the sandbox")
    for what, values in (("inputs", template.inputs), ("outputs", template.outputs)):
        if values is not None and values.artifacts:
            raise ManifestError(f"{place}.{what}.artifacts of a resource template is not supported by the sandbox")
    if resource.action not in ACTIONS and not find_tags(resource.action):
        raise ManifestError(f"{place}.resource.action must be one of: {', '.join(ACTIONS)}")
    if resource.action not in {"delete", "get"} and not resource.manifest:
        raise ManifestError(f"either {place}.resource.manifest or {place}.resource.manifestFrom must be specified")
    strategy = resource.merge_strategy or "strategic"
    if strategy not in STRATEGIES and not find_tags(strategy):
        raise ManifestError(f"{place}.resource.mergeStrategy must be one of: {', '.join(STRATEGIES)}")
    _check_flags(place, resource)
    _check_manifest(place, resource)
    for parameter in (template.outputs.parameters if template.outputs else None) or []:
        path = parameter.value_from.json_path if parameter.value_from else None
        if path and not find_tags(path):
            try:
                check_json_path(path)
            except JsonPathError as error:
                raise ManifestError(f"{place}.outputs.parameters.{parameter.name}: {error}") from error


def _check_flags(place: str, resource: m.ResourceTemplate) -> None:
    try:
        flags = read_flags(resource.action, [_TAG.sub(_UNKNOWN, flag) for flag in resource.flags or []])
        kinds = (
            {word.partition("/")[0] for word in flags.words} if all("/" in w for w in flags.words) else flags.words[:1]
        )
        for kind in kinds:
            if _UNKNOWN not in kind:
                kind_called(kind)
    except KubectlError as error:
        raise ManifestError(f"{place}.resource.flags: {error}") from error


def _check_manifest(place: str, resource: m.ResourceTemplate) -> None:
    place = f"{place}.resource.manifest"
    try:
        body = read_manifest(_TAG.sub(_UNKNOWN, resource.manifest or ""))
    except KubectlError as error:
        wrong = str(error) if "supported" in str(error) else "must be a valid yaml"
        raise ManifestError(f"{place} {wrong}") from error
    if not isinstance(body, dict) or (resource.action == "patch" and "kind" not in body):
        return
    version, title = str(body.get("apiVersion")), str(body.get("kind"))
    if _UNKNOWN in version + title:
        return
    try:
        kind_of(version, title)
    except KubectlError as error:
        raise ManifestError(f"{place}: {error}") from error
    if resource.action in {"create", "apply", "replace"}:
        try:
            check_fields(body, title)
        except ManifestError as error:
            raise ManifestError(f"{place}: {error}") from error
