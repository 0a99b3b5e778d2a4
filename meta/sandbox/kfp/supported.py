"""Which fields of containers and of Kubernetes settings have an effect here, only a note on the run, or none at all.

The tables are read when a run is created and when `meta sandbox support` prints them. A field that stands in no table
is unknown, and refused too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias, cast

from meta.sandbox.kfp.errors import unsupported

Json: TypeAlias = dict[str, Any]


class Effect(Enum):
    """What the sandbox makes of a field."""

    USED = "supported"
    NOTED = "approximated"
    REFUSED = "refused"


USED, NOTED, REFUSED = Effect.USED, Effect.NOTED, Effect.REFUSED
Table: TypeAlias = "Mapping[str, Effect | Table]"

_NAME: Table = {
    "runtimeValue": USED, "componentInputParameter": USED, "taskOutputParameter": USED,
    "parameterExpressionSelector": USED,
}  # fmt: skip

# deploymentSpec.executors.<label>.container. Limits hold on Linux; memory is that of all processes of the component.
CONTAINER: Table = {
    "image": USED, "command": USED, "args": USED, "env": USED,
    "resources": {
        "cpuLimit": USED, "memoryLimit": USED, "resourceCpuLimit": USED, "resourceMemoryLimit": USED,
        "cpuRequest": NOTED, "memoryRequest": NOTED, "resourceCpuRequest": NOTED, "resourceMemoryRequest": NOTED,
        "accelerator": NOTED,
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
    "emptyDirMounts": {"volumeName": USED, "mountPath": USED, "medium": NOTED, "sizeLimit": NOTED},
    "genericEphemeralVolume": {
        "volumeName": USED, "mountPath": USED, "accessModes": NOTED, "size": NOTED, "defaultStorageClass": NOTED,
        "storageClassName": NOTED, "metadata": NOTED,
    },
    "fieldPathAsEnv": {"name": USED, "fieldPath": USED},
    "podMetadata": {"labels": USED, "annotations": USED},
    "activeDeadlineSeconds": USED,
    "nodeSelector": NOTED, "tolerations": NOTED, "nodeAffinity": NOTED, "podAffinity": NOTED,
    "imagePullSecret": NOTED, "imagePullPolicy": NOTED, "enabledSharedMemory": NOTED, "securityContext": NOTED,
    "initContainers": REFUSED,
}  # fmt: skip

# platforms.kubernetes.pipelineConfig
PIPELINE_CONFIG: Table = {"workspace": {"size": NOTED, "kubernetes": NOTED}}

# deploymentSpec.executors.<label>.importer
IMPORTER: Table = {
    "artifactUri": USED, "typeSchema": USED, "metadata": USED, "reimport": USED, "downloadToWorkspace": NOTED,
}  # fmt: skip

TABLES: Mapping[str, Table] = {
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


def rows() -> Iterator[tuple[str, Effect]]:
    """Every field of the tables, with its full name."""
    for place, table in TABLES.items():
        yield from _rows(place, table)


def _rows(place: str, table: Table) -> Iterator[tuple[str, Effect]]:
    for name, entry in table.items():
        if entry is _NAME:
            yield f"{place}.{name}", USED
        elif isinstance(entry, Effect):
            yield f"{place}.{name}", entry
        else:
            yield from _rows(f"{place}.{name}", entry)


def check(place: str, given: Json, table: Table) -> list[str]:
    """Check fields against a table.

    Returns:
        The fields that get a note, named below `place`.

    Raises:
        ApiError: a field is refused or unknown; the message names it.
    """
    noted: list[str] = []
    for name, value in given.items():
        entry = table.get(name, REFUSED)
        if isinstance(entry, Effect):
            if entry is REFUSED:
                raise unsupported(f"{place}.{name}", "there is no Kubernetes that could do it")
            if entry is NOTED and value:
                noted.append(name)
            continue
        values = cast("Sequence[Json]", value if isinstance(value, list) else [value])
        for index, one in enumerate(values):
            inner = f"{place}.{name}[{index}]" if isinstance(value, list) else f"{place}.{name}"
            noted += [f"{name}.{each}" for each in check(inner, one, entry)]
    return list(dict.fromkeys(noted))
