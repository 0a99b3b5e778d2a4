"""What is checked of a template that becomes a pod (validateLeaf), and what only the sandbox cannot do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter

from hera.workflows import models as m

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.operator.tags import find_tags
from meta.sandbox.argo.pods.command import ContainerLike, confinement_of

_FIELD_PATH = re.compile(
    r"metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['.+'\]|spec\.(nodeName|serviceAccountName)"
    r"|status\.(hostIP|podIP)"
)
CannotRun = Callable[[str, str | None], str]
_RESERVED = frozenset({"main", "init", "wait"})


def check_pod(place: str, template: m.Template, spec: m.WorkflowSpec, cannot_run: CannotRun) -> None:
    """Check the containers of a template that becomes a pod.

    Args:
        place: of the template.
        template: a container, script or container set template.
        spec: has the volumes.
        cannot_run: why an image cannot run a command, or its own for None; empty when it can.

    Raises:
        ManifestError: the first thing that is wrong, with its place.
    """
    _check_windows(place, template, spec)
    claims = [claim.metadata.name or "" for claim in spec.volume_claim_templates or [] if claim.metadata]
    volumes = {volume.name for volume in [*(spec.volumes or []), *(template.volumes or [])]} | set(claims)
    names: set[str] = set()
    for where, container in _containers(place, template):
        name = container.name or ""
        if not isinstance(container, m.Container | m.ScriptTemplate):
            if name in names or (name in _RESERVED and not isinstance(container, m.ContainerNode)):
                raise ManifestError(f"{where}.name: {name!r} is a reserved Argo container name, or stands twice")
            names.add(name)
        _check_container(where, container, cannot_run)
        _check_mounts(where, container.volume_mounts, volumes)
    seconds = template.active_deadline_seconds
    text = "1" if seconds is None else str(seconds.root)
    if not find_tags(text) and (not text.isdigit() or int(text) == 0):
        raise ManifestError(f"{place}.activeDeadlineSeconds must be a positive integer > 0 or an argo variable")
    if template.container_set is not None:
        _check_container_set(place, template, template.container_set, volumes)


def _containers(place: str, template: m.Template) -> Iterator[tuple[str, ContainerLike]]:
    for kind, container in (("container", template.container), ("script", template.script)):
        if container is not None:
            yield f"{place}.{kind}", container
    grouped = (
        ("containerSet.containers", template.container_set.containers if template.container_set else None),
        ("initContainers", template.init_containers),
        ("sidecars", template.sidecars),
    )
    for kind, containers in grouped:
        for container in containers or []:
            yield f"{place}.{kind}.{container.name}", container


def _check_container(place: str, container: ContainerLike, cannot_run: CannotRun) -> None:
    if not container.image:
        raise ManifestError(f"{place}.image may not be empty")
    program = container.command[0] if container.command else None
    if (
        not find_tags(container.image)
        and not find_tags(program or "")
        and (why := cannot_run(container.image, program))
    ):
        raise ManifestError(f"{place}.command {why}")
    for variable in container.env or []:
        field = variable.value_from.field_ref if variable.value_from else None
        if field is not None and not find_tags(field.field_path) and not _FIELD_PATH.fullmatch(field.field_path):
            raise ManifestError(f"{place}.env.{variable.name}: fieldPath {field.field_path} is not supported")
    limits = container.resources.limits if container.resources else None
    if not any(find_tags(str(limit.root)) for limit in (limits or {}).values()):
        try:
            confinement_of(container.resources)
        except ValueError as error:
            raise ManifestError(f"{place}.resources.limits: {error}") from error


def _check_mounts(place: str, mounts: list[m.VolumeMount] | None, volumes: set[str]) -> None:
    paths: set[str] = set()
    for index, mount in enumerate(mounts or []):
        if mount.name not in volumes and not find_tags(mount.name):
            raise ManifestError(f"{place}.volumeMounts[{index}].name: volume '{mount.name}' not found")
        if mount.mount_path in paths:
            raise ManifestError(f"{place}.volumeMounts[{index}].mountPath '{mount.mount_path}' already mounted")
        if ".." in (mount.sub_path or "").split("/"):
            raise ManifestError(f"{place}.volumeMounts[{index}].subPath: must not contain '..'")
        paths.add(mount.mount_path)


def _check_container_set(
    place: str, template: m.Template, containers: m.ContainerSetTemplate, volumes: set[str]
) -> None:
    """`containerSet.Validate`, in its words."""
    place = f"{place}.containerSet"
    if not containers.containers:
        raise ManifestError(f"{place}.containers must have at least one container")
    _check_mounts(place, containers.volume_mounts, volumes)
    needs = {container.name: container.dependencies or [] for container in containers.containers}
    for name, wanted in needs.items():
        for need in wanted:
            if need not in needs:
                raise ManifestError(f"{place}.containers.{name} dependency '{need}' not defined")
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise ManifestError(f"{place}.containers dependency cycle detected: {'->'.join(error.args[1])}") from error
    values = [template.inputs or m.Inputs(), template.outputs or m.Outputs()]
    if "main" not in needs and any(v.artifacts or (v is template.outputs and v.parameters) for v in values):
        raise ManifestError(f'{place}.containers must have a container named "main" for input or output')


def check_volumes(place: str, volumes: list[m.Volume] | None) -> None:
    """That each volume has one source.

    Raises:
        ManifestError: one has none, or more.
    """
    for volume in volumes or []:
        sources = (volume.empty_dir, volume.config_map, volume.secret, volume.persistent_volume_claim)
        if sum(source is not None for source in sources) != 1:
            raise ManifestError(
                f"{place}[{volume.name}]: the sandbox has volumes with one source of emptyDir, configMap, secret, "
                "persistentVolumeClaim"
            )


def _check_windows(place: str, template: m.Template, spec: m.WorkflowSpec) -> None:
    selector = {**(spec.node_selector or {}), **(template.node_selector or {})}
    for key in ("kubernetes.io/os", "beta.kubernetes.io/os"):
        if selector.get(key) == "windows":
            raise ManifestError(f"{place}.nodeSelector: {key}=windows is not supported by the sandbox")
