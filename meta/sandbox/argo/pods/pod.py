"""A pod's containers as processes: init containers one after another, sidecars beside the main ones.

The main container is the template's own; a container set has several, each after those that it depends on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hera.workflows import models as m

from meta.processes import GuardedProcess
from meta.sandbox.argo.operator.context import PodRequest
from meta.sandbox.argo.pods.command import (
    SCRIPT,
    Command,
    ContainerLike,
    Environments,
    Images,
    Surroundings,
    build_command,
)
from meta.sandbox.argo.pods.container import (
    EXECUTOR_FAILED,
    GRACE_S,
    Ending,
    ending_of,
    missing_program,
    running,
)
from meta.sandbox.argo.pods.logs import PodLogs
from meta.sandbox.argo.pods.paths import PathMap, artifact_paths, input_paths
from meta.sandbox.argo.pods.volumes import PodFolders, Volumes
from meta.sandbox.argo.state.status import Phase
from meta.sandbox.kubernetes_objects import KubernetesObjects, MissingObjectError
from workflows.errors import MetaError

MAIN = "main"


class Observer(Protocol):
    """Is told of a pod's processes, so that a server that is killed knows of them at its next start."""

    def starting(self) -> None:
        """The main process, or the first of several, is about to start."""
        ...

    def started(self, pgid: int) -> None:
        """It runs, in this process group."""
        ...

    def container(self, name: str, phase: Phase, message: str | None = None) -> None:
        """A container of a set is in that phase."""
        ...


class PodFailedError(Exception):
    """The pod has failed before it was over; phase and message are for its node."""

    def __init__(self, phase: Phase, message: str) -> None:
        super().__init__(message)
        self.phase = phase


@dataclass(frozen=True)
class Pod:
    """One pod's containers, with what they need around them.

    Attributes:
        volumes: made already.
        fields: what a `fieldRef` can name.
        stdout: the last part of container `main`'s standard output.
    """

    request: PodRequest
    folders: PodFolders
    volumes: Volumes
    logs: PodLogs
    observer: Observer
    images: Images
    environments: Environments
    objects: KubernetesObjects
    fields: Mapping[str, str]
    stdout: bytearray = field(default_factory=bytearray)

    @property
    def template(self) -> m.Template:
        return self.request.template

    def mains(self) -> dict[str, ContainerLike]:
        """The main containers by name."""
        if self.template.container_set is not None:
            return {container.name: container for container in self.template.container_set.containers}
        main = self.template.container or self.template.script
        assert main is not None  # pods are of these templates only
        return {MAIN: main}

    def main_paths(self) -> PathMap:
        """Where the paths of the template's inputs and outputs lie: as container `main` sees them."""
        return self._paths(MAIN, self.mains().get(MAIN))

    def _paths(self, name: str, container: ContainerLike | None) -> PathMap:
        declared = artifact_paths(self.template) if name == MAIN else set[str]()
        if container is None:
            return PathMap(self.folders.pod / "root", declared)
        if container.working_dir:
            declared.add(container.working_dir)
        if isinstance(container, m.ScriptTemplate):
            declared.add(SCRIPT)
        mounts: dict[str, Path] = {}
        mirrors = isinstance(container, m.UserContainer) and bool(container.mirror_volume_mounts)
        if name != MAIN and (mirrors or isinstance(container, m.ContainerNode)):
            inputs = self.template.inputs.artifacts if self.template.inputs else None
            main = self.main_paths()
            mounts |= {artifact.path: main.host(artifact.path) for artifact in inputs or [] if artifact.path}
        if mirrors:
            for other in self.mains().values():
                mounts |= self.volumes.mounts(other.volume_mounts or [])
        if isinstance(container, m.ContainerNode) and self.template.container_set is not None:
            mounts |= self.volumes.mounts(self.template.container_set.volume_mounts or [])
        mounts |= self.volumes.mounts(container.volume_mounts or [])
        root = self.folders.pod / ("root" if name == MAIN else f"containers/{name}")
        return PathMap(root, declared, mounts)

    async def command(self, name: str, container: ContainerLike) -> Command:
        """A container's process, with its folders laid out.

        Raises:
            PodFailedError: it cannot be put together.
        """
        image = self.images.lookup(container.image or "")
        try:
            python = await self.environments.prepare(image.requirements if image else None)
        except MetaError as error:
            raise PodFailedError(Phase.ERROR, f"Pod failed before {name} container starts: {error}") from error
        identity = {
            "ARGO_CONTAINER_NAME": name, "ARGO_NODE_ID": self.request.node_id,
            "ARGO_TEMPLATE_NAME": self.template.name or "", "HOSTNAME": self.request.pod_name,
        }  # fmt: skip
        try:
            paths = self._paths(name, container)
            given = Surroundings(image, python, identity, self.fields, self.objects)
            command = build_command(container, given, paths)
            paths.lay_out([container.working_dir or "/"], input_paths(self.template) if name == MAIN else [])
            if isinstance(container, m.ScriptTemplate):
                script = paths.host(SCRIPT)
                script.parent.mkdir(parents=True, exist_ok=True)
                script.write_text(paths.rewrite(container.source or ""), encoding="utf-8")
                script.chmod(0o755)  # as the real executor: `command: [sh, -c]` runs the file itself
        except MissingObjectError as error:
            message = f"Pod failed before {name} container starts due to CreateContainerConfigError: {error}"
            raise PodFailedError(Phase.ERROR, message) from error
        except (OSError, ValueError) as error:
            raise PodFailedError(Phase.ERROR, f"init: Error (exit code {EXECUTOR_FAILED}): {error}") from error
        return command

    async def initialize(self) -> None:
        """Run the init containers.

        Raises:
            PodFailedError: one of them failed.
        """
        for container in self.template.init_containers or []:
            ending = await self._run(container.name, await self.command(container.name, container))
            if ending.code:
                raise PodFailedError(Phase.FAILED, f"{container.name}: {ending.message}")

    @asynccontextmanager
    async def sidecars(self) -> AsyncGenerator[dict[str, Ending]]:
        """Run the sidecars while the block lasts.

        Yields:
            How each ended; filled when the block is over.

        Raises:
            PodFailedError: one cannot be started.
        """
        endings: dict[str, Ending] = {}
        processes: dict[str, GuardedProcess] = {}
        async with AsyncExitStack() as stack:
            for container in self.template.sidecars or []:
                command = await self.command(container.name, container)
                if (missing := missing_program(command)) is not None:
                    endings[container.name] = missing
                    continue
                run = running(command, self.logs.of(container.name))
                processes[container.name] = await stack.enter_async_context(run)
            yield endings
            codes = await asyncio.gather(*(process.stop(GRACE_S) for process in processes.values()))
            for (name, process), code in zip(processes.items(), codes, strict=True):
                endings[name] = ending_of(process, code)

    async def run_mains(self) -> dict[str, Ending]:
        """Run the main containers, each after those it depends on; the failure of one ends the others.

        Returns:
            How each ended, in the order in which they ended.

        Raises:
            PodFailedError: one cannot be started.
        """
        commands = {name: await self.command(name, container) for name, container in self.mains().items()}
        self.observer.starting()
        if self.template.container_set is not None:
            return await _ContainerSet(self, self.template.container_set, commands).run()
        return {MAIN: await self._run(MAIN, commands[MAIN])}

    async def _run(self, name: str, command: Command) -> Ending:
        if (ending := missing_program(command)) is not None:
            return ending
        async with running(command, self.logs.of(name), self.stdout if name == MAIN else None) as process:
            if name == MAIN:
                self.observer.started(process.pgid)
            return ending_of(process, await process.wait())


class _ContainerSet:
    """The containers of a set, as a graph (container_set_template.go, and the emissary's wait for dependencies)."""

    def __init__(self, pod: Pod, template: m.ContainerSetTemplate, commands: Mapping[str, Command]) -> None:
        self._pod, self._commands = pod, commands
        self._needs = {container.name: container.dependencies or [] for container in template.containers}
        self._ended = {name: asyncio.Event() for name in self._needs}
        self._endings: dict[str, Ending] = {}
        self._processes: dict[str, GuardedProcess] = {}

    async def run(self) -> dict[str, Ending]:
        async with asyncio.TaskGroup() as group:
            for name in self._needs:
                group.create_task(self._one(name))
        return self._endings

    async def _one(self, name: str) -> None:
        for need in self._needs[name]:
            await self._ended[need].wait()
            code = self._endings[need].code
            if code:
                self._end(name, Ending(code, detail=f'dependency "{need}" exited with non-zero code: {code}'))
                return
        ending = missing_program(self._commands[name]) or await self._process(name)
        self._end(name, ending)
        if ending.code:
            await asyncio.gather(*(process.stop(GRACE_S) for process in self._processes.values()))

    async def _process(self, name: str) -> Ending:
        pod = self._pod
        async with running(self._commands[name], pod.logs.of(name), pod.stdout if name == MAIN else None) as process:
            self._processes[name] = process
            pod.observer.started(process.pgid)
            pod.observer.container(name, Phase.RUNNING)
            if any(ending.code for ending in self._endings.values()):  # another failed while this one was starting
                return ending_of(process, await process.stop(GRACE_S))
            return ending_of(process, await process.wait())

    def _end(self, name: str, ending: Ending) -> None:
        self._endings[name] = ending
        self._ended[name].set()
        phase = {0: Phase.SUCCEEDED, EXECUTOR_FAILED: Phase.ERROR}.get(ending.code, Phase.FAILED)
        message = f"{name}: {ending.reason} (exit code {ending.code}): {ending.detail}" if ending.code else None
        self._pod.observer.container(name, phase, message)
