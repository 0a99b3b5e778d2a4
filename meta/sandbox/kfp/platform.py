"""The Kubernetes settings of a pipeline: what each component gets of them, and what is only noted on the run."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from meta.sandbox.kfp import supported
from meta.sandbox.kfp.errors import unsupported
from meta.sandbox.kfp.executors import CREATE_VOLUME
from meta.sandbox.kubernetes_objects import KubernetesObjects, MissingObjectError

Json: TypeAlias = dict[str, Any]

_OBJECTS = {"secret": "Secret", "configMap": "ConfigMap"}
_MOUNTS = ("secretAsVolume", "configMapAsVolume", "pvcMount", "emptyDirMounts", "genericEphemeralVolume")
_MAP_PATH = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")


@dataclass(frozen=True, slots=True)
class Platform:
    """The checked settings.

    Attributes:
        executors: executor label -> its `KubernetesExecutorConfig` as JSON.
        notes: what was accepted and is not done, one text for each executor.
    """

    executors: Mapping[str, Json]
    notes: tuple[str, ...]


def read_platform(ir: Json, platform: Json, objects: KubernetesObjects) -> Platform:
    """Check every field of a package: of the IR, and of the platform specification.

    Args:
        ir: the first document.
        platform: the second document of a package; empty when there is none.
        objects: the ConfigMaps and Secrets that the sandbox was given.

    Raises:
        ApiError: a setting cannot be had here and the component cannot do without; the message names it.
    """
    notes = {"pipeline": supported.check("", ir, supported.PIPELINE)}
    for label, executor in cast("dict[str, Json]", ir.get("deploymentSpec", {}).get("executors", {})).items():
        place = f"deploymentSpec.executors.{label}"
        if executor.get("container", {}).get("image") == CREATE_VOLUME:
            notes[label] = ["size", "access modes and storage class of the claim"]
        for kind, table in (("container", supported.CONTAINER), ("importer", supported.IMPORTER)):
            found = supported.check(f"{place}.{kind}", executor.get(kind, {}), table)
            notes[label] = [*notes.get(label, []), *found]
    configs: dict[str, Json] = {}
    for name, spec in cast("dict[str, Json]", platform.get("platforms", {})).items():
        place = f"platform_spec.platforms.{name}"
        if name != "kubernetes":
            raise unsupported(place, "it knows the platform kubernetes only")
        for key in set(spec) - {"deploymentSpec", "pipelineConfig"}:
            raise unsupported(f"{place}.{key}", "it is not known")
        notes["pipelineConfig"] = supported.check(
            f"{place}.pipelineConfig", spec.get("pipelineConfig", {}), supported.PIPELINE_CONFIG
        )
        configs = cast("dict[str, Json]", spec.get("deploymentSpec", {}).get("executors", {}))
        for label, config in configs.items():
            where = f"{place}.deploymentSpec.executors.{label}"
            notes[label] = [*notes.get(label, []), *supported.check(where, config, supported.KUBERNETES)]
            _check_objects(where, config, objects)
            _check_paths(where, config)
    return Platform(configs, tuple(f"{label}: {', '.join(fields)}" for label, fields in notes.items() if fields))


def _check_objects(place: str, config: Json, objects: KubernetesObjects) -> None:
    for prefix, kind in _OBJECTS.items():
        for way in ("AsEnv", "AsVolume"):
            for index, one in enumerate(cast("list[Json]", config.get(f"{prefix}{way}", []))):
                given = one.get(f"{prefix}NameParameter", {}).get("runtimeValue", {}).get("constant")
                name = given or one.get(f"{prefix}Name")
                if not name or one.get("optional"):
                    continue  # what a task or the run gives is known later: a missing one fails the task
                where = f"{place}.{prefix}{way}[{index}]"
                try:
                    found = objects.find(kind, str(name))
                except MissingObjectError as error:
                    raise unsupported(where, f"{error}; give the {kind} with --objects") from error
                for pair in cast("list[Json]", one.get("keyToEnv", [])):
                    key = pair.get("secretKey") or pair.get("configMapKey") or ""
                    if found is not None and key not in found.data:
                        raise unsupported(where, f"couldn't find key {key} in {kind} {name}; give it with --objects")


def _check_paths(place: str, config: Json) -> None:
    for kind in _MOUNTS:
        for index, one in enumerate(cast("list[Json]", config.get(kind, []))):
            path, below = str(one.get("mountPath", "")), str(one.get("subPath", ""))
            if not path.startswith("/") or not path.strip("/") or ".." in path.split("/"):
                raise unsupported(f"{place}.{kind}[{index}].mountPath", f'"{path}" is no absolute path below /')
            if below.startswith("/") or ".." in below.split("/"):
                raise unsupported(f"{place}.{kind}[{index}].subPath", f'"{below}" leads out of the volume')
    for index, one in enumerate(cast("list[Json]", config.get("fieldPathAsEnv", []))):
        path = str(one.get("fieldPath", ""))
        if path not in supported.FIELD_PATHS and not _MAP_PATH.fullmatch(path):
            raise unsupported(f"{place}.fieldPathAsEnv[{index}].fieldPath", f"there is no pod with a {path}")


def objects_of(platform: Platform, objects: KubernetesObjects) -> dict[str, dict[str, str]]:
    """The ConfigMaps and Secrets that a run may read, as `Kind/name` -> key -> base64; none when it names none."""
    if not any(f"{prefix}As" in key for config in platform.executors.values() for key in config for prefix in _OBJECTS):
        return {}
    return {
        f"{kind}/{name}": {key: base64.b64encode(value).decode() for key, value in one.data.items()}
        for (kind, name), one in objects.objects.items()
    }
