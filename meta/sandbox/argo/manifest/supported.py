"""Which fields of a manifest the sandbox implements: tables for `meta.sandbox.fields`.

Those without effect are named in the workflow's condition `SpecWarning`.
"""

from __future__ import annotations

from collections.abc import Mapping

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.fields import ANY_KEY, NO_EFFECT, REFUSED, USED, Table, examine

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
    "valueFrom": {
        "path": USED, "parameter": USED, "default": USED, "expression": USED, "supplied": USED, "jsonPath": USED,
        "configMapKeyRef": {"name": USED, "key": USED, "optional": NO_EFFECT},  # nor has the real controller one
    },
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
    "resources": {
        "limits": {"memory": USED, "cpu": USED, ANY_KEY: NO_EFFECT}, "requests": NO_EFFECT, "claims": NO_EFFECT,
    },
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
_HOOKS = {ANY_KEY: {"template": USED, "templateRef": _TEMPLATE_REFERENCE, "arguments": _VALUES, "expression": USED}}
_CALL = {
    "name": USED, "template": USED, "templateRef": _TEMPLATE_REFERENCE, "arguments": _VALUES,
    "when": USED, "withItems": USED, "withParam": USED,
    "withSequence": {"count": USED, "start": USED, "end": USED, "format": USED},
    "continueOn": {"error": USED, "failed": USED}, "hooks": _HOOKS, "onExit": USED,
}  # fmt: skip
_RESOURCE = {  # the kinds: resources/kinds.py; the flags: resources/command.py
    "action": USED, "manifest": USED, "mergeStrategy": USED, "flags": USED, "setOwnerReference": USED,
    "successCondition": USED, "failureCondition": USED,
}  # fmt: skip
_SYNCHRONIZATION = {
    "mutexes": {"name": USED, "namespace": USED},
    "semaphores": {"configMapKeyRef": {"name": USED, "key": USED}, "namespace": USED},
}
_REQUEST = {
    "url": USED, "method": USED, "headers": {"name": USED, "value": USED, "valueFrom": {"secretKeyRef": _KEY}},
    "body": USED, "timeoutSeconds": USED, "insecureSkipVerify": USED, "successCondition": USED,
}  # fmt: skip
_LEAF = {
    **_POD_SCHEDULING, "name": USED, "inputs": _VALUES, "outputs": _VALUES, "container": _CONTAINER,
    "script": {**_CONTAINER, "source": USED}, "containerSet": _CONTAINER_SET, "initContainers": _USER_CONTAINER,
    "sidecars": _USER_CONTAINER,
    "activeDeadlineSeconds": USED, "retryStrategy": _RETRY, "volumes": _VOLUME, "priorityClassName": NO_EFFECT,
    "metadata": _POD_METADATA, "archiveLocation": {"archiveLogs": USED, "s3": _S3}, "suspend": {"duration": USED},
    "resource": _RESOURCE, "http": _REQUEST,
    "timeout": USED, "parallelism": USED, "failFast": USED, "synchronization": _SYNCHRONIZATION,
    "memoize": {"key": USED, "maxAge": USED, "cache": {"configMap": {"name": USED}}},
    "annotations": {"workflows.argoproj.io/display-name": USED, ANY_KEY: NO_EFFECT},
    "metrics": NO_EFFECT,  # they go to a cluster's Prometheus; nothing of a workflow depends on them
}  # fmt: skip
# in place of a name; with steps or a dag inside, tags of two levels could not be told apart (nor can the real server)
_INLINE_CALL = {**_CALL, "inline": _LEAF}
_TASK = {**_INLINE_CALL, "dependencies": USED, "depends": USED}
_TEMPLATE = {
    **_LEAF, "steps": _INLINE_CALL, "dag": {"failFast": USED, "target": USED, "tasks": _TASK},
}  # fmt: skip
_SPEC = {
    "workflowTemplateRef": {"name": USED, "clusterScope": USED},
    "workflowMetadata": {"labels": USED, "annotations": USED, "labelsFrom": {ANY_KEY: {"expression": USED}}},
    **_POD_SCHEDULING, "entrypoint": USED, "arguments": _VALUES, "templates": _TEMPLATE, "onExit": USED,
    "activeDeadlineSeconds": USED, "retryStrategy": _RETRY, "volumes": _VOLUME, "suspend": USED, "parallelism": USED,
    "hooks": _HOOKS,
    "ttlStrategy": {"secondsAfterCompletion": USED, "secondsAfterSuccess": USED, "secondsAfterFailure": USED},
    "podGC": NO_EFFECT, "imagePullSecrets": NO_EFFECT, "priority": USED, "podPriorityClassName": NO_EFFECT,
    "podMetadata": _POD_METADATA, "volumeClaimTemplates": _CLAIM, "archiveLogs": USED,
    "artifactRepositoryRef": {"configMap": USED, "key": USED}, "volumeClaimGC": NO_EFFECT,
    "dnsPolicy": NO_EFFECT, "dnsConfig": NO_EFFECT, "synchronization": _SYNCHRONIZATION, "templateDefaults": _LEAF,
    # nobody evicts a pod here; pods are not scheduled, and each container's own limits hold
    "metrics": NO_EFFECT, "podDisruptionBudget": NO_EFFECT,
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
# made by resource templates only; a claim is a folder, whatever it asks for
_CORE = {**_TYPED, "metadata": _METADATA}
TABLES: Mapping[str, Table] = {
    "Workflow": WORKFLOW,
    "WorkflowTemplate": {**_STORED, "spec": _SPEC},
    "ClusterWorkflowTemplate": {**_STORED, "spec": _SPEC},
    "CronWorkflow": {**_STORED, "spec": _CRON_SPEC, "status": USED},  # as it was read; the server keeps its own
    "ConfigMap": {**_CORE, "data": USED, "binaryData": USED},
    "Secret": {**_CORE, "data": USED, "stringData": USED, "type": USED},
    "PersistentVolumeClaim": {**_CORE, "spec": NO_EFFECT},
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
    for place, mark in examine(manifest, TABLES[kind]):
        (refused if mark is REFUSED else without_effect).append(place)
    if refused:
        verb = "is" if len(refused) == 1 else "are"
        raise ManifestError(
            f"{', '.join(refused)} {verb} not supported by the sandbox; "
            "take it out of the manifest, or run it on a real Argo Workflows server"
        )
    return without_effect
