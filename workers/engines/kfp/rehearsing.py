"""Whether a KFP server would take a run. Nothing is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from workers.engines.base import EngineCheck, Submission, Unknown
from workers.engines.checking import Probe
from workers.engines.kfp.checking import ask_create
from workers.engines.kfp.client import KfpClient
from workers.engines.kfp.ir import Pipeline, check_complete, runtime_parameters
from workers.engines.rehearsing import fitting, with_stand_ins
from workflows.manifests import inspect_kfp


async def rehearse_kfp(
    client: KfpClient, submission: Submission, unknown: Unknown, read: Callable[[Submission], Awaitable[Pipeline]]
) -> list[EngineCheck]:
    """Ask for the pipeline that the source names, whether it takes what is passed, and whether we may create runs."""
    probe = Probe()
    pipeline: Pipeline | None = None

    async def reference() -> str:
        nonlocal pipeline
        pipeline = await read(submission)
        return f"pipeline '{pipeline.name}'"

    async def parameters() -> str:
        assert pipeline is not None  # asked only then
        full = with_stand_ins(submission, unknown, inspect_kfp(pipeline.spec))
        values = runtime_parameters(pipeline, full.parameters, full.artifacts, full.trace)
        check_complete(pipeline, values)
        return fitting(full.parameters, full.artifacts)

    if await probe.ask("reference", reference) and await probe.ask("arguments", parameters):
        await ask_create(probe, client, "of the engine", "`meta doctor` checks the rights of its account")
    return probe.checks
