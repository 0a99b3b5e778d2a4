"""What a finished run produced: tasks, declared outputs and artifacts, from whichever source the server has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from workers.artifacts import ArtifactStore
from workers.engines.json_view import child
from workers.engines.kfp import outcome as reading
from workers.engines.kfp import rest_outputs
from workers.engines.kfp.client import KfpClient
from workers.engines.kfp.ir import Pipeline, pipeline_of_api
from workers.engines.kfp.metadata import MetadataReader
from workers.engines.kfp.tasks import ArtifactRecord, PipelineOutputs, TaskRecord, read_pipeline_outputs
from workflows.errors import ArtifactError, EngineRejected
from workflows.outcome import Artifact, FailureClass, Outcome
from workflows.values import JsonObject

_MAYBE_NO_OBJECT = frozenset({"system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"})
"""Types that are metadata first: a URI is reserved, but few components write a file there."""


@dataclass(frozen=True, slots=True)
class ResultReader:
    """Reads the results of runs of one engine.

    Attributes:
        engine: its name in the configuration.
        client: of the API server.
        metadata: of ML Metadata; None takes the 3.x REST API.
        objects: where artifacts are.
    """

    engine: str
    client: KfpClient
    metadata: MetadataReader | None
    objects: ArtifactStore

    async def read(self, run: JsonObject, run_id: str, *, cancelled: bool) -> Outcome:
        """Read everything of a run that has ended.

        Raises:
            EngineUnavailable: a server does not answer.
            EngineRejected: the pipeline declares outputs, but the configuration names no place to read them.
        """
        pipeline = await self._pipeline(run)
        tasks = await self._tasks(run_id)
        succeeded = reading.state(run) == reading.State.SUCCEEDED
        if tasks is None and succeeded and pipeline.declares_outputs:
            if self.metadata is None:
                raise EngineRejected(
                    f"engine '{self.engine}': pipeline '{pipeline.name}' declares outputs, but this server does not "
                    f"show them over REST (there is no /apis/v2beta1/runs/{run_id}/tasks)",
                    hint=f"set metadata_address of [engines.{self.engine}] in meta.toml: servers before 3.0 keep "
                    "outputs in ML Metadata (metadata-grpc-service, port 8080)",
                )
            return Outcome(
                failure=FailureClass.LOST,
                message=f"run {run_id} succeeded, but ML Metadata of engine '{self.engine}' knows nothing of it: "
                "its outputs cannot be read",
            )
        found = read_pipeline_outputs(pipeline, tasks) if tasks else PipelineOutputs({}, {})
        outcome = reading.read_outcome(run, tasks or [], found.parameters, cancelled=cancelled)
        return outcome.model_copy(update={"artifacts": await self._artifacts(found)})

    async def _tasks(self, run_id: str) -> list[TaskRecord] | None:
        if self.metadata is not None:
            return await self.metadata.tasks(run_id)
        return await rest_outputs.read_tasks(self.client, run_id)

    async def _pipeline(self, run: JsonObject) -> Pipeline:
        """The run's pipeline: from the run, or from the version that it names."""
        if spec := child(run, "pipeline_spec"):
            return pipeline_of_api(spec)
        pipeline_id, version_id = reading.pipeline_reference(run)
        version: JsonObject | None = None
        if pipeline_id and version_id:
            version = await self.client.version(pipeline_id, version_id)
        elif pipeline_id:
            versions = await self.client.versions(pipeline_id)
            version = versions[0] if versions else None
        return pipeline_of_api(child(version or {}, "pipeline_spec"))

    async def _artifacts(self, outputs: PipelineOutputs) -> dict[str, Artifact]:
        """Records of the artifacts; a list's items are told apart by their place, as `models_0`."""
        named = [
            (name if len(records) == 1 else f"{name}_{place}", record)
            for name, records in outputs.artifacts.items()
            for place, record in enumerate(records)
        ]
        found = await asyncio.gather(*(self._artifact(name, record) for name, record in named))
        return {artifact.name: artifact for artifact in found}

    async def _artifact(self, name: str, record: ArtifactRecord) -> Artifact:
        if record.type in _MAYBE_NO_OBJECT and not await self._exists(record.uri):
            return Artifact(name=name, uri=record.uri, type=record.type, metadata=record.metadata)
        return await self.objects.describe(name, record.uri, type=record.type, metadata=record.metadata)

    async def _exists(self, uri: str) -> bool:
        try:
            return bool(uri) and await self.objects.stat(uri, digest=False) is not None
        except ArtifactError:
            return True  # `describe` says what is the matter with it
