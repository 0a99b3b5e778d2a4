"""Which fields of a manifest the sandbox implements. Everything else is refused by name, nothing is ignored.

Three kinds of fields: those that work (a nested table, or `USED`), those that steer only a cluster's scheduling and
mean nothing on one machine (`NO_EFFECT`: accepted, so that a manifest for a cluster runs unchanged, and named in the
workflow's condition `SpecWarning`), and the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.state.status import JsonObject


class Mark(Enum):
    USED = "used"
    NO_EFFECT = "no effect here"


USED, NO_EFFECT = Mark.USED, Mark.NO_EFFECT
_Table = Mapping[str, object]

_KEY = {"name": USED, "key": USED, "optional": USED}
_OBJECT = {"name": USED, "optional": USED}
_S3 = {
    "endpoint": USED, "bucket": USED, "insecure": USED, "key": USED, "region": USED,
    # the server's own credentials are used where these Secrets are not given
    "accessKeySecret": _KEY, "secretKeySecret": _KEY, "useSDKCreds": NO_EFFECT, "createBucketIfNotPresent": {},
}  # fmt: skip
_HTTP = {
    "url": USED, "headers": {"name": USED, "value": USED},
    "auth": {"basicAuth": {"usernameSecret": _KEY, "passwordSecret": _KEY}},
}  # fmt: skip
_GIT = {
    "repo": USED, "revision": USED, "branch": USED, "depth": USED, "singleBranch": USED, "disableSubmodules": USED,
    "insecureIgnoreHostKey": NO_EFFECT,
}  # fmt: skip
_ARTIFACT = {
    "name": USED, "path": USED, "from": USED, "fromExpression": USED, "s3": _S3, "raw": {"data": USED},
    "optional": USED, "mode": USED,
    "archive": {"none": {}, "tar": {"compressionLevel": USED}, "zip": {}}, "globalName": USED, "http": _HTTP,
    "git": _GIT, "subPath": USED, "recurseMode": USED,
}  # fmt: skip
_PARAMETER = {
    "name": USED, "value": USED, "default": USED, "description": USED, "enum": USED, "globalName": USED,
    "valueFrom": {"path": USED, "parameter": USED, "default": USED, "expression": USED, "supplied": USED},
}  # fmt: skip
_VALUES = {"parameters": _PARAMETER, "artifacts": _ARTIFACT}
_POD_SCHEDULING = {
    key: NO_EFFECT
    for key in (
        "serviceAccountName", "automountServiceAccountToken", "nodeSelector", "tolerations", "affinity",
        "schedulerName", "securityContext",
    )
}  # fmt: skip
_MOUNT = {
    "name": USED, "mountPath": USED, "subPath": USED, "readOnly": NO_EFFECT, "mountPropagation": NO_EFFECT,
}  # fmt: skip
_FIELD = {"fieldPath": USED, "apiVersion": USED}
_CONTAINER = {
    "image": USED, "command": USED, "args": USED, "workingDir": USED, "name": USED, "volumeMounts": _MOUNT,
    "env": {"name": USED, "value": USED,
            "valueFrom": {"fieldRef": _FIELD, "configMapKeyRef": _KEY, "secretKeyRef": _KEY}},
    "envFrom": {"prefix": USED, "configMapRef": _OBJECT, "secretRef": _OBJECT},
    # the rest of the limits are of devices and disks; requests and claims are for a cluster's scheduler
    "resources": {"limits": {"memory": USED, "cpu": USED, "*": NO_EFFECT}, "requests": NO_EFFECT, "claims": NO_EFFECT},
    "imagePullPolicy": NO_EFFECT, "ports": NO_EFFECT, "securityContext": NO_EFFECT, "readinessProbe": NO_EFFECT,
    "terminationMessagePath": NO_EFFECT, "terminationMessagePolicy": NO_EFFECT, "tty": NO_EFFECT,
}  # fmt: skip
_USER_CONTAINER = {**_CONTAINER, "mirrorVolumeMounts": USED}
_CONTAINER_SET = {"containers": {**_CONTAINER, "dependencies": USED}, "volumeMounts": _MOUNT}
_RETRY = {
    "limit": USED, "retryPolicy": USED, "expression": USED, "affinity": NO_EFFECT,
    "backoff": {"duration": USED, "factor": USED, "maxDuration": USED, "cap": USED},
}  # fmt: skip
_FILES = {"items": {"key": USED, "path": USED, "mode": USED}, "defaultMode": USED, "optional": USED}
_VOLUME = {
    "name": USED, "emptyDir": {"medium": NO_EFFECT, "sizeLimit": NO_EFFECT}, "configMap": {**_FILES, "name": USED},
    "secret": {**_FILES, "secretName": USED}, "persistentVolumeClaim": {"claimName": USED, "readOnly": NO_EFFECT},
}  # fmt: skip
_CLAIM = {
    "apiVersion": USED, "kind": USED, "metadata": {"name": USED, "labels": NO_EFFECT, "annotations": NO_EFFECT},
    "spec": NO_EFFECT, "status": {},
}  # fmt: skip
_POD_METADATA = {"labels": USED, "annotations": USED}  # a `fieldRef` reads them
_TEMPLATE_REFERENCE = {"name": USED, "template": USED, "clusterScope": USED}
_HOOKS = {"*": {"template": USED, "templateRef": _TEMPLATE_REFERENCE, "arguments": _VALUES, "expression": USED}}
_CALL = {
    "name": USED, "template": USED, "templateRef": _TEMPLATE_REFERENCE, "arguments": _VALUES,
    "when": USED, "withItems": USED, "withParam": USED,
    "withSequence": {"count": USED, "start": USED, "end": USED, "format": USED},
    "continueOn": {"error": USED, "failed": USED}, "hooks": _HOOKS, "onExit": USED,
}  # fmt: skip
_LEAF = {
    **_POD_SCHEDULING, "name": USED, "inputs": _VALUES, "outputs": _VALUES, "container": _CONTAINER,
    "script": {**_CONTAINER, "source": USED}, "containerSet": _CONTAINER_SET, "initContainers": _USER_CONTAINER,
    "sidecars": _USER_CONTAINER,
    "activeDeadlineSeconds": USED, "retryStrategy": _RETRY, "volumes": _VOLUME, "priorityClassName": NO_EFFECT,
    "metadata": _POD_METADATA, "archiveLocation": {"archiveLogs": USED, "s3": _S3}, "suspend": {"duration": USED},
    "timeout": USED, "parallelism": USED, "failFast": USED,
}  # fmt: skip
# in place of a name; with steps or a dag inside, tags of two levels could not be told apart (nor can the real server)
_INLINE_CALL = {**_CALL, "inline": _LEAF}
_TASK = {**_INLINE_CALL, "dependencies": USED, "depends": USED}
_TEMPLATE = {
    **_LEAF, "steps": _INLINE_CALL, "dag": {"failFast": USED, "target": USED, "tasks": _TASK},
}  # fmt: skip
_SPEC = {
    "workflowTemplateRef": {"name": USED, "clusterScope": USED},
    "workflowMetadata": {"labels": USED, "annotations": USED, "labelsFrom": {"*": {"expression": USED}}},
    **_POD_SCHEDULING, "entrypoint": USED, "arguments": _VALUES, "templates": _TEMPLATE, "onExit": USED,
    "activeDeadlineSeconds": USED, "retryStrategy": _RETRY, "volumes": _VOLUME, "suspend": USED, "parallelism": USED,
    "hooks": _HOOKS,
    "ttlStrategy": {"secondsAfterCompletion": USED, "secondsAfterSuccess": USED, "secondsAfterFailure": USED},
    "podGC": NO_EFFECT, "imagePullSecrets": NO_EFFECT, "priority": NO_EFFECT, "podPriorityClassName": NO_EFFECT,
    "podMetadata": _POD_METADATA, "volumeClaimTemplates": _CLAIM, "archiveLogs": USED,
    "artifactRepositoryRef": {"configMap": USED, "key": USED}, "volumeClaimGC": NO_EFFECT,
    "dnsPolicy": NO_EFFECT, "dnsConfig": NO_EFFECT,
}  # fmt: skip
_METADATA = {
    "name": USED, "generateName": USED, "namespace": USED, "labels": USED, "annotations": USED,
    # what the API server overwrites on create, whatever the client sends
    "creationTimestamp": USED, "uid": USED, "generation": USED, "managedFields": USED, "selfLink": USED,
}  # fmt: skip
_TYPED = {"apiVersion": USED, "kind": USED}
_STORED = {**_TYPED, "metadata": {**_METADATA, "resourceVersion": USED}}  # compared when it is updated
_CRON_SPEC = {
    "workflowSpec": _SPEC, "workflowMetadata": {"labels": USED, "annotations": USED}, "schedules": USED,
    "suspend": USED, "timezone": NO_EFFECT, "concurrencyPolicy": NO_EFFECT, "startingDeadlineSeconds": NO_EFFECT,
    "successfulJobsHistoryLimit": NO_EFFECT, "failedJobsHistoryLimit": NO_EFFECT, "when": NO_EFFECT,
    "stopStrategy": NO_EFFECT,
}  # fmt: skip
WORKFLOW = {**_TYPED, "metadata": _METADATA, "spec": _SPEC, "status": {}}
TABLES: Mapping[str, _Table] = {
    "Workflow": WORKFLOW,
    "WorkflowTemplate": {**_STORED, "spec": _SPEC},
    "ClusterWorkflowTemplate": {**_STORED, "spec": _SPEC},
    "CronWorkflow": {**_STORED, "spec": _CRON_SPEC, "status": USED},  # as it was read; the server keeps its own
}


def check_fields(manifest: JsonObject, kind: str = "Workflow") -> list[str]:
    """Walk a whole manifest.

    Args:
        manifest: of a request.
        kind: which table is meant.

    Returns:
        The places of fields that are accepted without effect here.

    Raises:
        ManifestError: fields that are not implemented, all of them by place.
    """
    refused: list[str] = []
    without_effect: list[str] = []
    for place, mark in _walk(manifest, TABLES[kind], ""):
        (refused if mark is None else without_effect).append(place)
    if refused:
        verb = "is" if len(refused) == 1 else "are"
        raise ManifestError(
            f"{', '.join(refused)} {verb} not supported by the sandbox; "
            "take it out of the manifest, or run it on a real Argo Workflows server"
        )
    return without_effect


def _walk(value: JsonValue, table: object, place: str) -> Iterator[tuple[str, Mark | None]]:
    if table is USED or _unset(value):
        return
    if table is NO_EFFECT:
        yield place, NO_EFFECT
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, table, f"{place}{_index(index, item)}")
    elif isinstance(value, dict):
        known = cast("_Table", table)
        for key, item in value.items():
            inner = f"{place}.{key}" if place else key
            if (below := known.get(key, known.get("*"))) is not None:
                yield from _walk(item, below, inner)
            elif item == {} or not _unset(item):  # an empty object can be a choice, as in `suspend: {}`
                yield inner, None


def _index(index: int, item: JsonValue) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return f"[{name}]" if isinstance(name, str) else f"[{index}]"


def _unset(value: JsonValue) -> bool:
    """Go's zero values: clients that marshal whole objects send them for fields that nobody set."""
    return value in (None, False, "", 0, [], {})
