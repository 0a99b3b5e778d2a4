"""One pod from start to end: inputs in, the processes, outputs out, as the executor's init, main and wait do it."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import PodRequest
from meta.sandbox.argo.operator.operation import global_values
from meta.sandbox.argo.operator.tags import replace
from meta.sandbox.argo.pods.artifacts import ArtifactRepository, remove_tree
from meta.sandbox.argo.pods.command import Environments, Images
from meta.sandbox.argo.pods.container import EXECUTOR_FAILED, KILLED, Ending
from meta.sandbox.argo.pods.logs import PodLogs
from meta.sandbox.argo.pods.outputs import load_inputs, save_logs, save_outputs
from meta.sandbox.argo.pods.paths import PathMap
from meta.sandbox.argo.pods.pod import MAIN, Observer, Pod, PodFailedError
from meta.sandbox.argo.pods.transports import ArtifactError
from meta.sandbox.argo.pods.volumes import PodFolders, Volumes, make_volumes
from meta.sandbox.argo.state.status import Phase
from meta.sandbox.argo.state.workflow import Workflow
from meta.sandbox.kubernetes_objects import KubernetesObjects, MissingObjectError

_INIT_FAILED = f"init: Error (exit code {EXECUTOR_FAILED})"


@dataclass(frozen=True, slots=True)
class PodResult:
    """How a pod ended, as its node shows it."""

    phase: Phase
    message: str | None = None
    outputs: m.Outputs | None = None


@dataclass(frozen=True, slots=True)
class PodRunner:
    """Runs pods with one server's images, environments, store and Kubernetes objects.

    Attributes:
        claims: folder of the PersistentVolumeClaims that manifests name.
    """

    images: Images
    environments: Environments
    repository: ArtifactRepository
    claims: Path
    objects: KubernetesObjects = field(default_factory=KubernetesObjects)

    async def run(
        self, workflow: Workflow, request: PodRequest, folder: Path, logs: PodLogs, observer: Observer
    ) -> PodResult:
        """Run a pod; cancelling ends its processes before the cancellation goes on.

        Args:
            workflow: to which it belongs.
            request: what to run.
            folder: the pod's own, made anew, in the workflow's own.
            logs: get the processes' output; closed at the end.
            observer: is told of the processes.
        """
        folders = PodFolders(folder / "files", folder.parent, self.claims)
        limit = _seconds(request.template.active_deadline_seconds)
        try:
            async with asyncio.timeout(limit):
                return await self._run(workflow, request, folders, logs, observer)
        except TimeoutError:
            return PodResult(Phase.FAILED, "Pod was active on the node longer than the specified deadline")
        except PodFailedError as failed:
            return PodResult(failed.phase, str(failed))
        finally:
            logs.close()
            # Outputs are in the store; what is left only fills the disk
            await asyncio.to_thread(remove_tree, folders.pod)

    async def _run(
        self, workflow: Workflow, request: PodRequest, folders: PodFolders, logs: PodLogs, observer: Observer
    ) -> PodResult:
        volumes = self._volumes(workflow, request, folders)
        fields = fields_of_pod(workflow, request)
        pod = Pod(
            request, folders, volumes, logs, observer, self.images, self.environments, self.objects, fields
        )  # fmt: skip
        try:
            paths = pod.main_paths()
            repository = self.repository.of(workflow.status.artifact_repository_ref)
            await load_inputs(repository, request.template, paths)
        except (ArtifactError, OSError, ValueError) as error:
            raise PodFailedError(Phase.ERROR, f"{_INIT_FAILED}: {error}") from error
        await pod.initialize()
        async with pod.sidecars() as sidecars:
            endings = await pod.run_mains()
            saved, problem = await _save(workflow, pod, repository, paths)
        result = bytes(pod.stdout).decode(errors="replace").removesuffix("\n") if request.include_result else None
        code = str(endings[MAIN].code) if MAIN in endings else None
        outputs = saved.model_copy(update={"exit_code": code, "result": result})
        return _assess(endings, problem, sidecars, outputs)

    def _volumes(self, workflow: Workflow, request: PodRequest, folders: PodFolders) -> Volumes:
        values = global_values(workflow, self.objects)
        spec, template = workflow.spec, request.template
        volumes = [*(replace(volume, values) for volume in spec.volumes or []), *(template.volumes or [])]
        names = [claim.metadata.name for claim in spec.volume_claim_templates or [] if claim.metadata]
        try:
            return make_volumes(volumes, [name for name in names if name], folders, self.objects)
        except MissingObjectError as error:
            message = f"Pod failed before main container starts due to ContainerCreating: MountVolume.SetUp: {error}"
            raise PodFailedError(Phase.ERROR, message) from error
        except (OSError, ValueError) as error:
            raise PodFailedError(Phase.ERROR, f"{_INIT_FAILED}: {error}") from error


async def _save(
    workflow: Workflow, pod: Pod, repository: ArtifactRepository, paths: PathMap
) -> tuple[m.Outputs, str | None]:
    """Keep the outputs, and the logs where they are asked for."""
    template, spec = pod.template, workflow.spec
    location = template.archive_location
    values = {**global_values(workflow, pod.objects), "pod.name": pod.request.pod_name}
    place = repository.folder_of(location, values)
    saved, problem = await save_outputs(repository, template, paths, pod.folders.all, place)
    asked = location.archive_logs if location and location.archive_logs is not None else spec.archive_logs
    if asked:
        try:
            logs = await save_logs(repository, {name: pod.logs.of(name).path for name in pod.mains()}, place)
            saved.artifacts = [*(saved.artifacts or []), *logs]
        except ArtifactError as error:
            problem = problem or f"failed to save logs: {error}"
    return saved, problem


def _assess(
    mains: Mapping[str, Ending], problem: str | None, sidecars: Mapping[str, Ending], outputs: m.Outputs
) -> PodResult:
    """The pod's phase and message from those of its containers (inferFailedReason)."""
    for name, ending in mains.items():
        if ending.code:
            return PodResult(Phase.FAILED, f"{name}: {ending.message}", outputs)
    if problem is not None:
        return PodResult(Phase.ERROR, f"wait: Error (exit code {EXECUTOR_FAILED}): {problem}", outputs)
    for name, ending in sidecars.items():
        if ending.code and ending.code not in KILLED:  # being killed is how sidecars end
            return PodResult(Phase.FAILED, f"{name}: {ending.message}", outputs)
    return PodResult(Phase.SUCCEEDED, None, outputs)


def fields_of_pod(workflow: Workflow, request: PodRequest) -> dict[str, str]:
    """What a `fieldRef` of a container can name, by field path."""
    fields = {
        "metadata.name": request.pod_name,
        "metadata.namespace": workflow.metadata.namespace,
        "metadata.uid": str(uuid.uuid5(uuid.UUID(workflow.metadata.uid), request.node_id)),
        "spec.nodeName": socket.gethostname(),
        "spec.serviceAccountName": workflow.spec.service_account_name or "default",
        "status.hostIP": "127.0.0.1",
        "status.podIP": "127.0.0.1",
    }
    shared, own = workflow.spec.pod_metadata or m.Metadata(), request.template.metadata or m.Metadata()
    labels = {
        **(shared.labels or {}), **(own.labels or {}), "workflows.argoproj.io/workflow": workflow.name,
        "workflows.argoproj.io/completed": "false",
    }  # fmt: skip
    fields |= {f"metadata.labels['{key}']": value for key, value in labels.items()}
    annotations = {
        **(shared.annotations or {}), **(own.annotations or {}), "workflows.argoproj.io/node-id": request.node_id,
    }  # fmt: skip
    return fields | {f"metadata.annotations['{key}']": value for key, value in annotations.items()}


def _seconds(value: object) -> float | None:
    root = getattr(value, "root", value)
    return None if root is None else float(str(root))
