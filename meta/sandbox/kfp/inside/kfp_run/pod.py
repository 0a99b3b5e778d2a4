# pyright: basic
# (kfp has no types)
"""The pod that a component would have had: variables, volumes and limits from its Kubernetes settings.

Volumes are folders. There is no way to mount them without rights, so the paths they are mounted at are replaced
wherever they stand in the component's command and code.
"""

import base64
import re
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from .inputs import Dag, Unresolved, parameter

_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "m": 1e-3}


@dataclass
class Pod:
    """What a component gets.

    Attributes:
        env: variables.
        mounts: absolute path in the container -> folder here.
        deadline: seconds; None for none.
        memory: bytes; None for no limit.
        cores: of the machine's; None for all.
    """

    env: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, Path] = field(default_factory=dict)
    deadline: float | None = None
    memory: int | None = None
    cores: int | None = None

    def rewrite(self, text: str) -> str:
        """Replace mount paths: one begins where no other path goes on, and ends where its last name ends."""
        if not self.mounts:
            return text
        longest_first = "|".join(re.escape(path) for path in sorted(self.mounts, key=len, reverse=True))
        return re.sub(
            rf"(?<![\w./~-])(?:{longest_first})(?![\w-]|\.\w)", lambda match: str(self.mounts[match.group(0)]), text
        )


class Pods:
    """Makes the pods of one run.

    Args:
        job: `job.json`.
        folder: the run's own.
    """

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        self._configs = job["platform"]
        self._objects = job["objects"]
        self._facts = job["facts"]
        self._volumes = Path(job["volumes"])
        self._folder = folder / "pods"

    def make(self, label: str, path: str, dag: Dag, resources: Any, arguments: dict[str, Any]) -> Pod:
        """The pod of a task.

        Raises:
            Unresolved: a Secret, a ConfigMap or a key of it that it cannot do without is not there.
        """
        config = self._configs.get(label, {})
        pod = Pod(deadline=float(config.get("activeDeadlineSeconds", 0)) or None)
        pod.memory = _quantity(resources.resource_memory_limit, arguments) or int(resources.memory_limit * 1e9) or None
        cpu = _quantity(resources.resource_cpu_limit, arguments, 1e3) / 1e3 or resources.cpu_limit
        pod.cores = max(1, -int(-cpu // 1)) if cpu else None
        home = self._folder / path.replace("/", ".")
        for prefix, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            for one in config.get(f"{prefix}AsEnv", []):
                data = self._data(kind, prefix, one, dag)
                for pair in one.get("keyToEnv", []):
                    key = pair[f"{prefix}Key"]
                    if data is not None and key in data:
                        pod.env[pair["envVar"]] = base64.b64decode(data[key]).decode()
                    elif data is not None and not one.get("optional"):
                        raise Unresolved(f"couldn't find key {key} in {kind}")
            for one in config.get(f"{prefix}AsVolume", []):
                place = self._place(home, one)
                for key, value in (self._data(kind, prefix, one, dag) or {}).items():
                    (place / key).write_bytes(base64.b64decode(value))
                pod.mounts[one["mountPath"].rstrip("/")] = place
        for one in (*config.get("emptyDirMounts", []), *config.get("genericEphemeralVolume", [])):
            pod.mounts[one["mountPath"].rstrip("/")] = self._place(home, one)
        for one in config.get("pvcMount", []):
            source = one.get("pvcNameParameter") or {k: v for k, v in one.items() if k.endswith("Parameter")}
            name = self._name(source or {"runtimeValue": {"constant": one.get("constant", "")}}, dag)
            folder = self.volume(str(name)) / one.get("subPath", "")
            folder.mkdir(parents=True, exist_ok=True)
            pod.mounts[one["mountPath"].rstrip("/")] = folder
        metadata = config.get("podMetadata", {})
        for one in config.get("fieldPathAsEnv", []):
            pod.env[one["name"]] = self._field(one["fieldPath"], metadata, path)
        return pod

    def _field(self, wanted: str, metadata: dict[str, Any], path: str) -> str:
        match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", wanted)
        if match:
            return metadata.get(match[1], {}).get(match[2], "")
        number = uuid.uuid5(uuid.UUID(self._facts["{{$.pipeline_job_uuid}}"]), f"{path}/executor").int % 2**32
        return {
            "metadata.name": f"{self._facts['{{$.pipeline_job_resource_name}}']}-{number}",
            "metadata.namespace": self._facts["namespace"],
            "spec.serviceAccountName": self._facts["service account"],
        }.get(wanted, "127.0.0.1")

    def _place(self, home: Path, one: dict[str, Any]) -> Path:
        place = home / one["mountPath"].strip("/")
        shutil.rmtree(place, ignore_errors=True)  # of an earlier attempt
        place.mkdir(parents=True)
        return place

    def _name(self, source: dict[str, Any], dag: Dag) -> Any:
        ir: Any = pipeline_spec_pb2
        return parameter(json_format.ParseDict(source, ir.TaskInputsSpec.InputParameterSpec()), dag, self._facts)

    def _data(self, kind: str, prefix: str, one: dict[str, Any], dag: Dag) -> dict[str, str] | None:
        source = one.get(f"{prefix}NameParameter") or {"runtimeValue": {"constant": one.get(f"{prefix}Name", "")}}
        name = self._name(source, dag)
        if name is None:  # an optional input that nobody gave: the driver leaves the setting out
            return None
        found = self._objects.get(f"{kind}/{name}")
        if found is None and not one.get("optional"):
            raise Unresolved(f'{kind.lower()} "{name}" not found; give it to the sandbox with --objects')
        return found

    # -- volumes: the work of the driver for `kubernetes.CreatePVC` and `DeletePVC` (driver/k8s.go)

    def volume(self, name: str) -> Path:
        """The folder of a claim; one that nobody made is made when it is first mounted.

        Raises:
            Unresolved: it is no name of a claim.
        """
        if not _VOLUME_NAME.fullmatch(name):
            raise Unresolved(f'"{name}" is no name of a persistent volume claim')
        return self._volumes / name

    def create_volume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name, suffix = arguments.get("pvc_name") or "", arguments.get("pvc_name_suffix") or ""
        if name and suffix:
            raise Unresolved("failed to create pvc: at most one of pvc_name and pvc_name_suffix can be non-empty")
        for given in ("data_source", "volume_name"):
            if arguments.get(given):
                raise Unresolved(
                    f"failed to create pvc: {given} is not supported by the sandbox: claims are new folders"
                )
        name = name or f"{uuid.uuid4()}{suffix}"
        folder = self.volume(name)
        if folder.exists():
            raise Unresolved(f'failed to create pvc: persistentvolumeclaims "{name}" already exists')
        folder.mkdir(parents=True)
        return {"name": name}

    def delete_volume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        folder = self.volume(str(arguments.get("pvc_name", "")))
        if not folder.exists():
            raise Unresolved(f'failed to delete pvc: persistentvolumeclaims "{folder.name}" not found')
        shutil.rmtree(folder)
        return {}


def _quantity(text: str, arguments: dict[str, Any], scale: float = 1) -> int:
    """A Kubernetes quantity (`256Mi`, `500m`), times the scale; 0 for none. It may come from an input."""
    text = re.sub(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}", lambda match: str(arguments.get(match[1])), text)
    if not text:
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGTm]i?|)", text)
    if match is None or match[2] not in _UNITS:
        raise Unresolved(f'"{text}" is no quantity that the sandbox knows')
    return int(float(match[1]) * _UNITS[match[2]] * scale)
