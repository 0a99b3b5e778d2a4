"""Inputs into a pod's folder before it runs, and what it left there afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hera.workflows import models as m

from meta.sandbox.argo.pods.artifacts import ArtifactRepository
from meta.sandbox.argo.pods.paths import PathMap, check_inside
from meta.sandbox.argo.pods.transports import ArtifactError, ArtifactNotFoundError

PARAMETER_LIMIT = 256 * 1024


async def load_inputs(repository: ArtifactRepository, template: m.Template, paths: PathMap) -> None:
    """Bring a template's input artifacts to their paths.

    Raises:
        ArtifactError: one that is not optional is not there, or one cannot be loaded.
    """
    for artifact in (template.inputs.artifacts if template.inputs else None) or []:
        place = paths.host(artifact.path or "")
        try:
            await repository.load(artifact, place)
        except ArtifactNotFoundError as error:
            if not artifact.optional:
                raise ArtifactError(f"artifact {artifact.name} failed to load: {error}") from error
            place.mkdir(parents=True, exist_ok=True)  # as kubelet does for a mount of something that is not there
        except (ArtifactError, OSError) as error:
            raise ArtifactError(f"artifact {artifact.name} failed to load: {error}") from error


async def save_outputs(
    repository: ArtifactRepository,
    template: m.Template,
    paths: PathMap,
    folders: Sequence[Path],
    location: m.S3Artifact,
) -> tuple[m.Outputs, str | None]:
    """Keep a template's outputs.

    Args:
        repository: where artifacts go.
        template: declares them.
        paths: where they lie.
        folders: what is the pod's own: a link out of these is not followed.
        location: of artifacts that have none; its key is the folder of theirs.

    Returns:
        What could be saved, and the first thing that could not.
    """
    problem: str | None = None
    declared = template.outputs or m.Outputs()
    parameters: list[m.Parameter] = []
    for parameter in declared.parameters or []:
        source = parameter.value_from or m.ValueFrom()
        try:
            value = _parameter(paths.host(source.path or ""), folders)
        except FileNotFoundError:
            value = source.default
            if value is None:
                problem = problem or f"open {source.path}: no such file or directory"
        except (OSError, ValueError) as error:
            value, problem = None, problem or f"failed to save parameter {parameter.name}: {error}"
        if value is not None:
            parameters.append(parameter.model_copy(update={"value": value}))
    artifacts: list[m.Artifact] = []
    for artifact in declared.artifacts or []:
        try:
            source_path = paths.host(artifact.path or "")
            check_inside(source_path, folders)
            for path in source_path.rglob("*"):  # nothing, where it is a file
                if path.is_symlink() and artifact.archive is not None and artifact.archive.none is not None:
                    check_inside(path, folders)  # a tarball keeps links as links
            artifacts.append(await repository.save(artifact, source_path, location))
        except ArtifactNotFoundError as error:
            problem = problem or (None if artifact.optional else str(error))
        except (ArtifactError, ValueError) as error:
            problem = problem or f"failed to save artifact {artifact.name}: {error}"
    return m.Outputs(parameters=parameters or None, artifacts=artifacts or None), problem


async def save_logs(
    repository: ArtifactRepository, logs: Mapping[str, Path], location: m.S3Artifact
) -> list[m.Artifact]:
    """Keep the logs of main containers as artifacts (`archiveLogs`).

    Raises:
        ArtifactError: one cannot be written.
    """
    saved: list[m.Artifact] = []
    for name, file in logs.items():
        file.touch()  # a container that said nothing has an empty log
        s3 = location.model_copy(update={"key": f"{location.key}/{name}.log"})
        log = m.Artifact(name=f"{name}-logs", archive=m.ArchiveStrategy(none=m.NoneStrategy()), s3=s3)
        await repository.save(log, file, location)
        saved.append(log.model_copy(update={"archive": None}))
    return saved


def _parameter(file: Path, folders: Sequence[Path]) -> str:
    check_inside(file, folders)
    size = file.stat().st_size
    if size > PARAMETER_LIMIT:
        raise ValueError(f"{size} bytes are more than the {PARAMETER_LIMIT} that a parameter can hold")
    return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
