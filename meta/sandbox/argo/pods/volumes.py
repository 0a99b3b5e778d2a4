"""Volumes as folders: of the pod, of its workflow, or of the sandbox, by the volume's kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hera.workflows import models as m

from meta.sandbox.argo.pods.paths import check_inside
from meta.sandbox.kubernetes_objects import KubernetesObjects

_DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class PodFolders:
    """Where a pod's files lie.

    Attributes:
        pod: the pod's own, gone when it ends.
        workflow: lives as long as the workflow: the claims of its `volumeClaimTemplates`.
        claims: the sandbox's own: a folder for each PersistentVolumeClaim that manifests name.
    """

    pod: Path
    workflow: Path
    claims: Path

    @property
    def all(self) -> tuple[Path, Path, Path]:
        return self.pod, self.workflow, self.claims


@dataclass(frozen=True, slots=True)
class Volumes:
    """A pod's volumes by name."""

    places: Mapping[str, Path]

    def mounts(self, mounts: Sequence[m.VolumeMount]) -> dict[str, Path]:
        """The host's places by mount path; folders below a volume (`subPath`) are made, as kubelet does.

        Raises:
            ValueError: a `subPath` leads out of its volume.
        """
        found: dict[str, Path] = {}
        for mount in mounts:
            place = self.places[mount.name]
            if mount.sub_path:
                place /= _relative("subPath", mount.sub_path)
                check_inside(place, [self.places[mount.name]])
                if not place.exists():
                    place.mkdir(parents=True)
            found[mount.mount_path] = place
        return found


def make_volumes(
    volumes: Sequence[m.Volume], claims: Sequence[str], folders: PodFolders, objects: KubernetesObjects
) -> Volumes:
    """Make the folders of a pod's volumes.

    Args:
        volumes: with their tags replaced.
        claims: names of the workflow's `volumeClaimTemplates`, which are volumes of the same name.
        folders: where they go.
        objects: ConfigMaps and Secrets.

    Raises:
        MissingObjectError: a ConfigMap or Secret, or one of its keys, is not there.
        ValueError: a name or path leads out of its folder.
    """
    places = {name: folders.workflow / "volumes" / _name(name) for name in claims}
    for volume in volumes:
        own = folders.pod / "volumes" / _name(volume.name)
        if volume.persistent_volume_claim is not None:
            places[volume.name] = folders.claims / _name(volume.persistent_volume_claim.claim_name)
            continue
        places[volume.name] = own
        if (config := volume.config_map) is not None:
            _write(own, objects, "ConfigMap", config.name, config)
        elif (secret := volume.secret) is not None:
            _write(own, objects, "Secret", secret.secret_name, secret)
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return Volumes(places)


def _write(
    folder: Path, objects: KubernetesObjects, kind: str, name: str | None,
    source: m.ConfigMapVolumeSource | m.SecretVolumeSource,
) -> None:  # fmt: skip
    """A file for each key, or for each of `items`."""
    found = objects.find(kind, name, optional=source.optional)
    if found is None:
        return
    items = source.items or [m.KeyToPath(key=key, path=key) for key in found.data]
    for item in items:
        reference = m.ConfigMapKeySelector(name=name, key=item.key, optional=source.optional)
        data = objects.value(kind, reference)
        if data is None:
            continue
        file = folder / _relative(f"{kind} {name}", item.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        mode = item.mode if item.mode is not None else source.default_mode
        file.chmod(_DEFAULT_MODE if mode is None else mode)


def _name(name: str) -> str:
    if "/" in name or name in {"", ".", ".."}:
        raise ValueError(f"'{name}' is no name of a volume or claim")
    return name


def _relative(what: str, path: str) -> PurePosixPath:
    clean = PurePosixPath(path)
    if clean.is_absolute() or ".." in clean.parts:
        raise ValueError(f"{what}: {path} must be a relative path without '..'")
    return clean
