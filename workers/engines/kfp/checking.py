"""What `meta doctor` asks a KFP API server. Nothing is made."""

from __future__ import annotations

from workers.engines.base import EngineHealth, Verdict
from workers.engines.checking import Probe, VersionRange
from workers.engines.json_view import text
from workers.engines.kfp.client import KfpClient
from workers.engines.kfp.metadata import MetadataReader
from workers.http import ApiRejected, ApiUnavailable
from workers.settings import KfpSettings
from workflows.errors import MetaError
from workflows.values import JsonObject

KNOWN: VersionRange = ((2, 0), (3, 0))
_NO_VERSION = "00000000-0000-0000-0000-000000000000"
_NO_RIGHT = (401, 403)


async def check_kfp(
    engine: str, client: KfpClient, metadata: MetadataReader | None, settings: KfpSettings
) -> EngineHealth:
    """Ask for the version, the namespace, and the rights that submitting and waiting need."""
    probe = Probe()
    found: JsonObject = {}

    async def reach() -> str:
        found.update(await client.health())
        return f"kfp at {settings.url}"

    if not await probe.ask("reach", reach):
        return probe.health("", "")
    version = text(found, "tag_name") or text(found, "apiServerTagName")
    probe.version("Kubeflow Pipelines", version, KNOWN)
    several = found.get("multi_user") is True
    where = f"in '{settings.namespace}'" if settings.namespace else "of the installation"
    rights = (
        f"give [engines.{engine}] credentials that KFP accepts (service_account_token, token_file, cookies) of somebody"
        f" who may get, list, create, terminate and retry runs {where}"
    )
    if several and not settings.namespace:
        hint = f"set namespace of [engines.{engine}] to the profile's that runs belong to"
        probe.add("namespace", Verdict.FAIL, "the installation has several users, and no namespace is set", hint)
    else:
        probe.add("namespace", Verdict.OK, settings.namespace or "none: an installation for one user")

    async def list_runs() -> str:
        await client.can_list_runs()
        return f"runs {where}"

    await probe.ask("list", list_runs, hint=rights)
    await ask_create(probe, client, where, rights)

    async def outputs() -> str:
        assert metadata is not None  # asked only then
        await metadata.check()
        return f"ML Metadata at {settings.metadata_address}"

    if metadata is not None:
        await probe.ask("outputs", outputs)
    else:
        probe.add("outputs", Verdict.OK, "over REST, as servers of 3.x give them; up to 2.x set metadata_address")
    account = settings.service_account or ("default-editor" if several else "pipeline-runner")
    space = f"--namespace {settings.namespace} " if settings.namespace else ""
    probe.add(
        "service account",
        Verdict.SKIP,
        f"runs execute as '{account}' unless a step says otherwise; the API does not tell whether it exists",
        f"kubectl {space}get serviceaccount {account}",
    )
    source = f"ML Metadata at {settings.metadata_address}" if metadata else "the API server"
    return probe.health(version, f"outputs from {source}")


async def ask_create(probe: Probe, client: KfpClient, where: str, rights: str) -> None:
    """Add to a probe whether runs may be created, asked with a pipeline version that does not exist.

    The server looks at the caller's rights first and at the version afterwards (`createRun` in run_server.go), so the
    second refusal says that the first did not come. It needs an experiment: without one it would make "Default".
    """
    try:
        experiment = await client.any_experiment()
        if not experiment:
            hint = "the first run makes one, if it may"
            probe.add("create", Verdict.SKIP, f"there is no experiment {where} to try it in", hint)
            return
        reference: JsonObject = {"pipeline_id": _NO_VERSION, "pipeline_version_id": _NO_VERSION}
        await client.create_run(
            {"display_name": "meta-doctor", "experiment_id": experiment, "pipeline_version_reference": reference}
        )
    except ApiRejected as error:
        if error.status in _NO_RIGHT:
            probe.add("create", Verdict.FAIL, error.message, rights)
        else:
            probe.add("create", Verdict.OK, f"runs {where} (asked with a version that does not exist)")
    except ApiUnavailable as error:
        probe.add("create", Verdict.WARN, f"it cannot be told: {error.message}", "start a small run to see")
    except MetaError as error:
        probe.add("create", Verdict.FAIL, error.message, error.hint)
    else:
        probe.add(
            "create", Verdict.WARN, "the server takes a run of a version that does not exist", "end run meta-doctor"
        )
