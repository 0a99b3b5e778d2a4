"""What `meta doctor` asks an Argo server. Nothing is made."""

from __future__ import annotations

from workers.engines.argo.client import ArgoClient
from workers.engines.argo.manifest import API_VERSION
from workers.engines.base import EngineHealth, Verdict
from workers.engines.checking import Probe, VersionRange
from workers.http import ApiRejected
from workers.settings import ArgoSettings
from workflows.naming import LABEL_MANAGED, MANAGED_BY
from workflows.values import JsonObject

KNOWN: VersionRange = ((3, 6), (4, 1))


async def check_argo(engine: str, client: ArgoClient, settings: ArgoSettings) -> EngineHealth:
    """Ask for the version, the namespace, and the rights that submitting and waiting need."""
    probe, namespace, version = Probe(), settings.namespace, ""

    async def reach() -> str:
        nonlocal version
        version = await client.version()
        return f"argo at {settings.url}"

    if not await probe.ask("reach", reach):
        return probe.health(version, "")
    probe.version("Argo Workflows", version, KNOWN)

    async def manages() -> str:
        managed = await client.managed_namespace()
        if managed not in ("", namespace):
            words = f"the server manages namespace '{managed}' alone, not '{namespace}'"
            raise ApiRejected(words, status=403, answer=words)
        return f"'{namespace}'" + (", the one that the server manages" if managed else "")

    async def get() -> str:
        await client.get(_NOBODY, fields="metadata.name")
        return f"workflows in '{namespace}'"

    async def list_ours() -> str:
        await client.list_run("none")
        return f"workflows in '{namespace}'"

    async def create() -> str:
        await client.create(_smallest(settings), dry_run=True)
        return f"workflows in '{namespace}' (a dry run; nothing was made)"

    async def templates() -> str:
        await client.can_list_templates()
        return f"WorkflowTemplates in '{namespace}'"

    rights = f"give its account the Role of docs/real-cluster.md in '{namespace}', and [engines.{engine}] its token"
    await probe.ask("namespace", manages, hint=f"set namespace of [engines.{engine}] in meta.toml")
    await probe.ask("get", get, hint=rights)
    await probe.ask("list", list_ours, hint=rights)
    await probe.ask("create", create, hint=rights)
    unchecked = f"steps that name a template run unchecked, those of a cronWorkflow not at all; {rights}"
    await probe.ask("templates", templates, hint=unchecked, no=Verdict.WARN)
    account = settings.service_account or "default"
    probe.add(
        "service account",
        Verdict.SKIP,
        f"pods run as '{account}' unless a manifest or a step says otherwise; the API does not tell whether it exists",
        f"kubectl --namespace {namespace} get serviceaccount {account}",
    )
    return probe.health(version, f"namespace {namespace}")


_NOBODY = "meta-doctor"


def _smallest(settings: ArgoSettings) -> JsonObject:
    """A Workflow that needs no image and, if it were made, would run no pod."""
    metadata: JsonObject = {"generateName": f"{_NOBODY}-", "labels": {**settings.labels, LABEL_MANAGED: MANAGED_BY}}
    if settings.annotations:
        metadata["annotations"] = {**settings.annotations}
    spec: JsonObject = {
        "entrypoint": "nothing",
        "templates": [{"name": "nothing", "suspend": {"duration": "0"}}],
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    return {"apiVersion": API_VERSION, "kind": "Workflow", "metadata": metadata, "spec": spec}
