"""Whether an Argo server would take a Workflow. Nothing is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from workers.engines.argo.client import ArgoClient
from workers.engines.argo.manifest import declared_by
from workers.engines.base import EngineCheck, Submission, Unknown
from workers.engines.checking import Probe
from workers.engines.rehearsing import fitting, with_stand_ins
from workflows.spec.sources import ArgoSource
from workflows.values import JsonObject

Read = Callable[[Submission], Awaitable[tuple[JsonObject | None, JsonObject | None]]]
"""Gives the CronWorkflow and the template that a source leads to."""

Build = Callable[[Submission, JsonObject | None, JsonObject | None], JsonObject]
"""Makes the Workflow of a submission, its template and its CronWorkflow."""


async def rehearse_argo(
    client: ArgoClient, submission: Submission, unknown: Unknown, read: Read, build: Build
) -> list[EngineCheck]:
    """Ask for what the source names, whether it takes what is passed, and whether the server takes the Workflow.

    The last question is Kubernetes' own dry run: with our rights, and the cluster's quotas and webhooks.
    """
    probe = Probe()
    cron: JsonObject | None = None
    template: JsonObject | None = None
    workflow: JsonObject = {}

    async def reference() -> str:
        nonlocal cron, template
        cron, template = await read(submission)
        return _named(submission, template)

    async def arguments() -> str:
        nonlocal workflow
        full = with_stand_ins(submission, unknown, declared_by(submission, template, cron))
        workflow = build(full, template, cron)
        return fitting(full.parameters, full.artifacts)

    async def create() -> str:
        await client.create(workflow, dry_run=True)
        return "the server would take it (a dry run; nothing was made)"

    if await probe.ask("reference", reference) and await probe.ask("arguments", arguments):
        await probe.ask("create", create, hint="mend what the server refuses; `meta doctor` checks our rights")
    return probe.checks


def _named(submission: Submission, template: JsonObject | None) -> str:
    source = submission.source
    assert isinstance(source, ArgoSource)  # the registry routes by kind
    if source.manifest is not None:
        return f"{source.manifest} of the bundle"
    name = source.template or source.cluster_template or source.cron_workflow
    return f"'{name}' is there" if template is not None or source.cron_workflow else f"'{name}' cannot be read by us"
