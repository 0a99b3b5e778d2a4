"""Which fields of a compiled pipeline the sandbox implements: tables for `meta.sandbox.fields`.

Those without effect get a note on the run. `PIPELINE` is the intermediate representation (pipeline_spec.proto) whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from meta.sandbox.fields import ANY_KEY, NO_EFFECT, REFUSED, USED, Table, examine
from meta.sandbox.kfp.errors import unsupported

Json: TypeAlias = dict[str, Any]

_NAME: Table = {
    "runtimeValue": USED, "componentInputParameter": USED, "taskOutputParameter": USED,
    "parameterExpressionSelector": USED,
}  # fmt: skip

# deploymentSpec.executors.<label>.container. Limits hold on Linux; memory is that of all processes of the component.
CONTAINER: Table = {
    "image": USED, "command": USED, "args": USED, "env": USED,
    "resources": {
        "cpuLimit": USED, "memoryLimit": USED, "resourceCpuLimit": USED, "resourceMemoryLimit": USED,
        "cpuRequest": NO_EFFECT, "memoryRequest": NO_EFFECT, "resourceCpuRequest": NO_EFFECT,
        "resourceMemoryRequest": NO_EFFECT, "accelerator": NO_EFFECT,
    },
    "lifecycle": REFUSED,
}  # fmt: skip

# platforms.kubernetes.deploymentSpec.executors.<label> (kubernetes_executor_config.proto). Volumes are folders, and the
# paths they are mounted at are replaced wherever they stand in the component's command and code.
KUBERNETES: Table = {
    "secretAsEnv": {"secretName": USED, "secretNameParameter": _NAME, "keyToEnv": USED, "optional": USED},
    "secretAsVolume": {"secretName": USED, "secretNameParameter": _NAME, "mountPath": USED, "optional": USED},
    "configMapAsEnv": {"configMapName": USED, "configMapNameParameter": _NAME, "keyToEnv": USED, "optional": USED},
    "configMapAsVolume": {"configMapName": USED, "configMapNameParameter": _NAME, "mountPath": USED, "optional": USED},
    "pvcMount": {
        "pvcNameParameter": _NAME, "taskOutputParameter": USED, "constant": USED, "componentInputParameter": USED,
        "mountPath": USED, "subPath": USED,
    },
    "emptyDirMounts": {"volumeName": USED, "mountPath": USED, "medium": NO_EFFECT, "sizeLimit": NO_EFFECT},
    "genericEphemeralVolume": {
        "volumeName": USED, "mountPath": USED, "accessModes": NO_EFFECT, "size": NO_EFFECT,
        "defaultStorageClass": NO_EFFECT, "storageClassName": NO_EFFECT, "metadata": NO_EFFECT,
    },
    "fieldPathAsEnv": {"name": USED, "fieldPath": USED},
    "podMetadata": {"labels": USED, "annotations": USED},
    "activeDeadlineSeconds": USED,
    "nodeSelector": NO_EFFECT, "tolerations": NO_EFFECT, "nodeAffinity": NO_EFFECT, "podAffinity": NO_EFFECT,
    "imagePullSecret": NO_EFFECT, "imagePullPolicy": NO_EFFECT, "enabledSharedMemory": NO_EFFECT,
    "securityContext": NO_EFFECT,
    "initContainers": REFUSED,
}  # fmt: skip

# platforms.kubernetes.pipelineConfig
PIPELINE_CONFIG: Table = {"workspace": {"size": NO_EFFECT, "kubernetes": NO_EFFECT}}

# deploymentSpec.executors.<label>.importer
IMPORTER: Table = {
    "artifactUri": USED, "typeSchema": USED, "metadata": USED, "reimport": USED, "downloadToWorkspace": NO_EFFECT,
}  # fmt: skip

_TYPE: Table = {"schemaTitle": USED, "schemaVersion": USED, "schemaUri": NO_EFFECT, "instanceSchema": NO_EFFECT}
_PARAMETER: Table = {
    "parameterType": USED, "defaultValue": USED, "isOptional": USED, "description": USED, "literals": USED,
    "type": REFUSED,
}  # fmt: skip
_ARTIFACT: Table = {
    "artifactType": _TYPE, "isArtifactList": USED, "isOptional": USED, "description": USED, "metadata": USED,
    "properties": NO_EFFECT, "customProperties": NO_EFFECT,
}  # fmt: skip
_VALUES: Table = {"parameters": {ANY_KEY: _PARAMETER}, "artifacts": {ANY_KEY: _ARTIFACT}}
_GIVEN: Table = {
    "runtimeValue": {"constant": USED, "constantValue": REFUSED, "runtimeParameter": REFUSED},
    "taskOutputParameter": USED, "taskOutputArtifact": USED, "componentInputParameter": USED,
    "componentInputArtifact": USED, "taskFinalStatus": USED, "parameterExpressionSelector": USED,
}  # fmt: skip
_TASK: Table = {
    "taskInfo": USED, "dependentTasks": USED, "componentRef": USED,
    "inputs": {"parameters": {ANY_KEY: _GIVEN}, "artifacts": {ANY_KEY: _GIVEN}},
    "cachingOptions": {"enableCache": USED, "cacheKey": REFUSED},
    "triggerPolicy": {"condition": USED, "strategy": USED},
    "artifactIterator": REFUSED,  # the real server has none either
    "parameterIterator": USED, "iteratorPolicy": USED,
    "retryPolicy": {
        "maxRetryCount": USED, "backoffDuration": NO_EFFECT, "backoffFactor": NO_EFFECT,
        "backoffMaxDuration": NO_EFFECT,
    },
}  # fmt: skip
_COMPONENT: Table = {
    "inputDefinitions": _VALUES, "outputDefinitions": _VALUES, "executorLabel": USED,
    "dag": {"tasks": {ANY_KEY: _TASK}, "outputs": USED},
    "singlePlatformSpecs": REFUSED, "taskConfigPassthroughs": REFUSED,
}  # fmt: skip
PIPELINE: Table = {
    "pipelineInfo": {"name": USED, "displayName": USED, "description": USED},
    "sdkVersion": USED, "schemaVersion": USED,
    "defaultPipelineRoot": NO_EFFECT,  # for clients: the real server reads it no more than this one
    "root": _COMPONENT, "components": {ANY_KEY: _COMPONENT},
    "deploymentSpec": USED,  # see CONTAINER and IMPORTER
}  # fmt: skip

TABLES: Mapping[str, Table] = {
    "PipelineSpec": PIPELINE,
    "deploymentSpec.executors.*.container": CONTAINER,
    "deploymentSpec.executors.*.importer": IMPORTER,
    "platforms.kubernetes.deploymentSpec.executors.*": KUBERNETES,
    "platforms.kubernetes.pipelineConfig": PIPELINE_CONFIG,
}

# Values of fieldPathAsEnv, beside metadata.labels['x'] and metadata.annotations['x'].
FIELD_PATHS = ("metadata.name", "metadata.namespace", "spec.serviceAccountName", "status.podIP", "status.hostIP")


# What `{{$.` may begin with in a container's command and in a constant.
PLACEHOLDERS = frozenset(
    {"inputs", "outputs", "outputMetadataUri", "pipeline_job_name", "pipeline_job_resource_name", "pipeline_job_uuid",
     "pipeline_job_create_time_utc", "pipeline_job_schedule_time_utc", "pipeline_root", "pipeline_task_name",
     "pipeline_task_uuid", "workspace_path"}
)  # fmt: skip


def check(place: str, given: Json, table: Table) -> list[str]:
    """Check fields against a table.

    Returns:
        The fields that get a note, named below `place`.

    Raises:
        ApiError: a field is refused or unknown; the message names it.
    """
    noted: list[str] = []
    for where, mark in examine(given, table, place):
        if mark is REFUSED:
            raise unsupported(where, "it is not implemented, or needs a Kubernetes")
        noted.append(re.sub(r"\[[^\]]*\]", "", where.removeprefix(f"{place}.")))
    return list(dict.fromkeys(noted))
