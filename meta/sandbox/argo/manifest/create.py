"""A create request's manifest becomes a workflow, or is refused."""

from __future__ import annotations

import re
import secrets
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo.manifest.check import check_spec
from meta.sandbox.argo.manifest.read import ManifestError, parse_spec, with_any_strings
from meta.sandbox.argo.manifest.supported import check_fields
from meta.sandbox.argo.pods.command import Images
from meta.sandbox.argo.state.status import JsonObject, WorkflowStatus
from meta.sandbox.argo.state.workflow import Metadata, Workflow

_DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' letters for generated names
_LONGEST = 63


def create_workflow(manifest: JsonObject, namespace: str, images: Images, repository: JsonObject) -> Workflow:
    """Check a manifest and make the workflow, not yet kept.

    Args:
        manifest: `workflow` of the request.
        namespace: of the request's path.
        images: for images whose entrypoint is their own.
        repository: `status.artifactRepositoryRef`.

    Raises:
        ManifestError: it is refused.
    """
    without_effect = check_fields(manifest)
    for key, wanted in (("apiVersion", "argoproj.io/v1alpha1"), ("kind", "Workflow")):
        if manifest.get(key) not in (None, "", wanted):
            raise ManifestError(f"{key} must be {wanted}, not {manifest[key]}")
    metadata = _metadata(_object(manifest, "metadata"), namespace)
    raw_spec = _object(manifest, "spec")

    def has_entrypoint(image: str) -> bool:
        entry = images.lookup(image)
        return entry is not None and bool(entry.command)

    check_spec(parse_spec(raw_spec), has_entrypoint)
    status = WorkflowStatus(artifact_repository_ref=repository)
    if without_effect:
        status.set_condition("SpecWarning", "True", f"no effect in the sandbox: {', '.join(without_effect)}")
    kept: JsonObject = {key: value for key, value in raw_spec.items() if value is not None}
    return Workflow(metadata, cast("JsonObject", with_any_strings(kept)), status)


def _object(manifest: JsonObject, key: str) -> JsonObject:
    value = manifest.get(key)
    if not isinstance(value, dict):
        raise ManifestError(f"{key} is required and must be an object")
    return value


def _metadata(raw: JsonObject, namespace: str) -> Metadata:
    name, prefix = raw.get("name") or "", raw.get("generateName") or ""
    if not isinstance(name, str) or not isinstance(prefix, str):
        raise ManifestError("metadata.name and metadata.generateName must be strings")
    if raw.get("namespace") not in (None, "", namespace):
        raise ManifestError("the namespace of the provided object does not match the namespace sent on the request")
    if not name and prefix:
        name = prefix[: _LONGEST - 5] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    if not name:
        raise ManifestError(
            'Workflow.argoproj.io "" is invalid: metadata.name: Required value: name or generateName is required'
        )
    if len(name) > _LONGEST:
        raise ManifestError(
            f'workflow name "{name}" must not be more than {_LONGEST} characters long (currently {len(name)})'
        )
    if not _DNS.fullmatch(name):
        raise ManifestError(
            f'Workflow.argoproj.io "{name}" is invalid: metadata.name: Invalid value: "{name}": a lowercase RFC 1123 '
            "subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
            "alphanumeric character"
        )
    return Metadata(
        name=name,
        namespace=namespace,
        generate_name=prefix or None,
        labels=_strings(raw, "labels"),
        annotations=_strings(raw, "annotations"),
    )


def _strings(raw: JsonObject, key: str) -> dict[str, str]:
    value: JsonValue = raw.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ManifestError(f"metadata.{key} must be an object of strings")
    return cast("dict[str, str]", dict(value))
