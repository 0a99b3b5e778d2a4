"""One pod from start to end: inputs in, the process, outputs out, as the executor's init, main and wait do it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hera.workflows import models as m

from meta.processes import spawn
from meta.sandbox.argo.operator.context import PodRequest
from meta.sandbox.argo.pods.artifacts import ArtifactError, ArtifactNotFoundError, ArtifactRepository, remove_tree
from meta.sandbox.argo.pods.command import SCRIPT, Command, Environments, Images, build_command
from meta.sandbox.argo.pods.logs import PodLog
from meta.sandbox.argo.pods.paths import PathMap, declared_paths
from meta.sandbox.argo.state.status import Phase
from workflows.errors import MetaError

RESULT_LIMIT = 256 * 1024
EXECUTOR_FAILED = 64  # argoexec's exit code
GRACE_S = 5.0
_PIPE_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class PodResult:
    """How a pod ended, as its node shows it."""

    phase: Phase
    message: str | None = None
    outputs: m.Outputs | None = None


class Observer(Protocol):
    """Is told of a pod's process, so that a server that is killed knows of it at its next start."""

    def starting(self) -> None:
        """The process is about to start."""
        ...

    def started(self, pgid: int) -> None:
        """It runs, in this process group."""
        ...


class _PodFailedError(Exception):
    def __init__(self, phase: Phase, message: str) -> None:
        super().__init__(message)
        self.result = PodResult(phase, message)


@dataclass(frozen=True, slots=True)
class PodRunner:
    """Runs pods with one server's images, environments and store."""

    images: Images
    environments: Environments
    repository: ArtifactRepository

    async def run(self, workflow: str, request: PodRequest, folder: Path, log: PodLog, observer: Observer) -> PodResult:
        """Run a pod; cancelling ends its processes before the cancellation goes on.

        Args:
            workflow: its name.
            request: what to run.
            folder: the pod's own, made anew.
            log: gets the process's output; closed at the end.
            observer: is told of the process.
        """
        template = request.template
        root = folder / "root"
        limit = _seconds(template.active_deadline_seconds)
        try:
            async with asyncio.timeout(limit):
                return await self._run(workflow, request, root, log, observer)
        except TimeoutError:
            return PodResult(Phase.FAILED, "Pod was active on the node longer than the specified deadline")
        except _PodFailedError as failed:
            return failed.result
        finally:
            log.close()
            await asyncio.to_thread(remove_tree, root)  # outputs are in the store; what is left only fills the disk

    async def _run(self, workflow: str, request: PodRequest, root: Path, log: PodLog, observer: Observer) -> PodResult:
        template = request.template
        container = template.container or template.script
        assert container is not None  # pods are container and script templates only
        image = self.images.lookup(container.image or "")
        try:
            python = await self.environments.prepare(image.requirements if image else None)
        except MetaError as error:
            raise _PodFailedError(Phase.ERROR, f"Pod failed before main container starts: {error}") from error
        paths = PathMap(root, declared_paths(template) | {SCRIPT})
        identity = {
            "ARGO_CONTAINER_NAME": "main", "ARGO_NODE_ID": request.node_id, "ARGO_TEMPLATE_NAME": template.name or "",
            "HOSTNAME": request.pod_name,
        }  # fmt: skip
        try:
            command = build_command(template, image, paths, root=root, python=python, identity=identity)
            _lay_out(template, paths, root, command)
            await self._load_inputs(template, paths)
        except (ArtifactError, OSError, ValueError) as error:
            raise _PodFailedError(Phase.ERROR, f"init: Error (exit code {EXECUTOR_FAILED}): {error}") from error
        stdout = bytearray()
        code = await _main(command, log, stdout, observer)
        saved, problem = await self._save_outputs(template, paths, f"{workflow}/{request.pod_name}")
        result = bytes(stdout).decode(errors="replace").removesuffix("\n") if request.include_result else None
        outputs = saved.model_copy(update={"exit_code": str(code), "result": result})
        if code != 0:
            return PodResult(Phase.FAILED, f"main: Error (exit code {code})", outputs)
        if problem is not None:
            return PodResult(Phase.ERROR, f"wait: Error (exit code {EXECUTOR_FAILED}): {problem}", outputs)
        return PodResult(Phase.SUCCEEDED, None, outputs)

    async def _load_inputs(self, template: m.Template, paths: PathMap) -> None:
        for artifact in (template.inputs.artifacts if template.inputs else None) or []:
            place = paths.host(artifact.path or "")
            try:
                if artifact.raw is None and artifact.s3 is None:
                    raise ArtifactNotFoundError(f"required artifact '{artifact.name}' not supplied")
                await self.repository.load(artifact, place)
            except ArtifactNotFoundError as error:
                if not artifact.optional:
                    raise ArtifactError(f"artifact {artifact.name} failed to load: {error}") from error
                place.mkdir(parents=True, exist_ok=True)  # as kubelet does for a mount of something that is not there
            except (ArtifactError, OSError) as error:
                raise ArtifactError(f"artifact {artifact.name} failed to load: {error}") from error

    async def _save_outputs(self, template: m.Template, paths: PathMap, prefix: str) -> tuple[m.Outputs, str | None]:
        """What could be saved, and the first thing that could not."""
        problem: str | None = None
        declared = template.outputs or m.Outputs()
        parameters: list[m.Parameter] = []
        for parameter in declared.parameters or []:
            source = parameter.value_from or m.ValueFrom()
            try:
                value = paths.host(source.path or "").read_text(encoding="utf-8", errors="replace").removesuffix("\n")
            except (OSError, ValueError):
                value = source.default
            if value is None:
                problem = problem or f"open {source.path}: no such file or directory"
            else:
                parameters.append(parameter.model_copy(update={"value": value}))
        artifacts: list[m.Artifact] = []
        for artifact in declared.artifacts or []:
            try:
                artifacts.append(await self.repository.save(artifact, paths.host(artifact.path or ""), prefix))
            except ArtifactNotFoundError as error:
                problem = problem or (None if artifact.optional else str(error))
            except (ArtifactError, ValueError) as error:
                problem = problem or f"failed to save artifact {artifact.name}: {error}"
        return m.Outputs(parameters=parameters or None, artifacts=artifacts or None), problem


def _lay_out(template: m.Template, paths: PathMap, root: Path, command: Command) -> None:
    """Make the folders that a container would find."""
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    command.cwd.mkdir(parents=True, exist_ok=True)
    container = template.container or template.script
    mounted: dict[str, Path] = {}
    for mount in (container.volume_mounts if container else None) or []:
        place = paths.host(mount.mount_path)
        if mount.name in mounted:  # one volume at two places
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(mounted[mount.name])
        else:
            place.mkdir(parents=True, exist_ok=True)
            mounted[mount.name] = place
    for path in declared_paths(template):
        paths.host(path).parent.mkdir(parents=True, exist_ok=True)
    if template.script is not None:
        script = paths.host(SCRIPT)
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(paths.rewrite(template.script.source or ""), encoding="utf-8")


async def _main(command: Command, log: PodLog, stdout: bytearray, observer: Observer) -> int:
    program = command.argv[0]
    if shutil.which(program, path=command.env["PATH"]) is None:
        raise _PodFailedError(
            Phase.FAILED,
            f'main: Error (exit code {EXECUTOR_FAILED}): failed to find name in PATH: exec: "{program}": '
            "executable file not found in $PATH",
        )
    async with _pipe() as (out, out_end), _pipe() as (err, err_end):
        try:
            observer.starting()
            process = await spawn(command.argv, env=command.env, cwd=command.cwd, stdout=out_end, stderr=err_end)
        finally:
            os.close(out_end)
            os.close(err_end)
        copies = asyncio.gather(log.drain(out, stdout, RESULT_LIMIT), log.drain(err))
        try:
            observer.started(process.pgid)
            code = await process.wait()
            # A process that left the group can still hold a pipe; the pod does not wait for it
            await asyncio.wait([copies], timeout=_PIPE_GRACE_S)
            return code
        except BaseException:  # the deadline, a shutdown, the server's end: no process outlives its pod
            await process.stop(GRACE_S)
            raise
        finally:
            copies.cancel()
            await asyncio.gather(copies, return_exceptions=True)


@asynccontextmanager
async def _pipe() -> AsyncGenerator[tuple[asyncio.StreamReader, int]]:
    """A pipe of our own: asyncio's PIPE makes `wait` last until every grandchild has closed it."""
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    try:
        yield reader, write_end
    finally:
        transport.close()


def _seconds(value: object) -> float | None:
    root = getattr(value, "root", value)
    return None if root is None else float(str(root))
