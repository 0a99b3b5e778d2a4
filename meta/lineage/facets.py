"""Facets of the events: OpenLineage's own where there is one, and two of ours that name what the UUIDs stand for."""

from __future__ import annotations

import attr
from openlineage.client.event_v2 import InputDataset, OutputDataset, set_producer
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    RunFacet,
    dataset_type_dataset,
    dataset_version_dataset,
    documentation_job,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
)

from meta import PACKAGE_OF, __version__
from meta.lineage.naming import dataset_name
from workflows.outcome import Artifact, StepKind

set_producer(f"urn:{PACKAGE_OF}:{__version__}")  # of all facets and events of this process

INTEGRATION = "META"
_ENGINES = {StepKind.ARGO: "Argo Workflows", StepKind.KFP: "Kubeflow Pipelines"}


@attr.define
class MetaRunFacet(RunFacet):
    """`meta_run`: of which meta-run an event is.

    Attributes:
        id: of the meta-run.
        trigger: what started it.
        requestId: identity of the request, where it had one.
        traceId: of its OpenTelemetry trace.
    """

    id: str
    workflow: str
    trigger: str
    requestId: str
    traceId: str


@attr.define
class EngineRunFacet(RunFacet):
    """`meta_engineRun`: which run of which engine an attempt is.

    Attributes:
        uid: the engine's own id of it; empty when the engine never took it.
        url: its page in the engine's own UI; empty when none is configured.
    """

    step: str
    attempt: int
    engine: str
    kind: str
    name: str
    namespace: str
    uid: str
    url: str


def job_facets(job_type: str, description: str) -> dict[str, JobFacet]:
    """Of a job that ends: `WORKFLOW`, `STEP`."""
    facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet(processingType="BATCH", integration=INTEGRATION, jobType=job_type)
    }
    if description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(description=description)
    return facets


def parent(namespace: str, job: str, run: str) -> parent_run.ParentRunFacet:
    """The meta-run, which is the root as well: nothing else that is known has started it."""
    return parent_run.ParentRunFacet(
        run=parent_run.Run(runId=run),
        job=parent_run.Job(namespace=namespace, name=job),
        root=parent_run.Root(run=parent_run.RootRun(runId=run), job=parent_run.RootJob(namespace=namespace, name=job)),
    )


def processing_engine(kind: StepKind | None) -> processing_engine_run.ProcessingEngineRunFacet:
    """Who does the work: an engine, whose version nobody wrote down, or for a whole meta-run this software."""
    return processing_engine_run.ProcessingEngineRunFacet(
        version="unknown" if kind in _ENGINES else __version__,
        name=PACKAGE_OF if kind is None else _ENGINES.get(kind, PACKAGE_OF),
        openlineageAdapterVersion=__version__,
    )


def error_message(message: str) -> error_message_run.ErrorMessageRunFacet:
    return error_message_run.ErrorMessageRunFacet(
        message=message or "no reason was given", programmingLanguage="PYTHON"
    )


def input_of(artifact: Artifact) -> InputDataset:
    namespace, name = dataset_name(artifact.uri)
    dataset = InputDataset(namespace, name, facets=_dataset_facets(artifact))
    if artifact.size is not None:
        statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(size=artifact.size)
        dataset.inputFacets = {"inputStatistics": statistics}
    return dataset


def output_of(artifact: Artifact) -> OutputDataset:
    namespace, name = dataset_name(artifact.uri)
    dataset = OutputDataset(namespace, name, facets=_dataset_facets(artifact))
    if artifact.size is not None:
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(size=artifact.size)
        dataset.outputFacets = {"outputStatistics": statistics}
    return dataset


def _dataset_facets(artifact: Artifact) -> dict[str, DatasetFacet]:
    """The digest as the version: the same bytes are the same version, whoever wrote them."""
    kind = "MODEL" if artifact.type == "system.Model" else "FILE"
    facets: dict[str, DatasetFacet] = {
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType=kind, subType=artifact.type or None)
    }
    if artifact.sha256:
        version = f"sha256:{artifact.sha256}"
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)
    return facets
