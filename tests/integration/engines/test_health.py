"""What `meta doctor` and the Engines call learn of an engine: each question a line, and nothing is made by asking."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.integration.engines.submissions import TIMEOUT
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from workers.artifacts import ArtifactStore
from workers.engines.base import Engine, EngineCheck, EngineHealth, Verdict
from workers.engines.checking import Probe
from workers.engines.json_view import text
from workers.engines.registry import build_engines
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import EngineUnavailable


@asynccontextmanager
async def argo(url: str, **settings: object) -> AsyncGenerator[Engine]:
    values = {"url": url, "request_timeout": TIMEOUT, **settings}
    async with built(ArgoSettings.model_validate(values)) as engine:
        yield engine


@asynccontextmanager
async def kfp(url: str, **settings: object) -> AsyncGenerator[Engine]:
    values = {"url": url, "request_timeout": TIMEOUT, **settings}
    async with built(KfpSettings.model_validate(values)) as engine:
        yield engine


@asynccontextmanager
async def built(settings: ArgoSettings | KfpSettings) -> AsyncGenerator[Engine]:
    engine = build_engines({"it": settings}, ArtifactStore(StoreSettings()))["it"]
    try:
        yield engine
    finally:
        await engine.close()


def check(health: EngineHealth, name: str) -> EngineCheck:
    return next(check for check in health.checks if check.name == name)


def verdicts(health: EngineHealth) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in health.checks}


async def test_argo_is_asked_for_everything_that_a_run_needs_and_nothing_is_made() -> None:
    async with ArgoStub() as stub, argo(stub.url, service_account="runner", labels={"team": "ml"}) as engine:
        health = await engine.health()
        assert health.ok
        assert health.version == "v3.7.18"
        assert verdicts(health) == {
            "reach": Verdict.OK, "version": Verdict.OK, "namespace": Verdict.OK, "get": Verdict.OK,
            "list": Verdict.OK, "create": Verdict.OK, "templates": Verdict.OK, "service account": Verdict.SKIP,
        }  # fmt: skip
        assert check(health, "service account").hint == "kubectl --namespace argo get serviceaccount runner"
        (asked,) = stub.dry_runs
        assert text(asked, "spec", "serviceAccountName") == "runner"
        assert text(asked, "metadata", "labels", "team") == "ml"
        assert not stub.workflows


async def test_argo_without_the_right_to_create_fails_at_the_dry_run() -> None:
    async with ArgoStub() as stub, argo(stub.url) as engine:
        stub.may_create = False
        health = await engine.health()
    assert not health.ok
    assert [name for name, verdict in verdicts(health).items() if verdict is Verdict.FAIL] == ["create"]
    assert "cannot create resource" in health.message
    assert "docs/real-cluster.md" in health.hint


async def test_argo_that_hides_its_templates_is_worth_a_warning() -> None:
    async with ArgoStub() as stub, argo(stub.url) as engine:
        stub.may_read_templates = False
        health = await engine.health()
    assert health.ok
    assert check(health, "templates").verdict is Verdict.WARN
    assert "cronWorkflow" in check(health, "templates").hint


async def test_an_argo_server_of_another_namespace_is_found() -> None:
    async with ArgoStub() as stub, argo(stub.url) as engine:
        stub.managed_namespace = "team-a"
        health = await engine.health()
    assert check(health, "namespace").verdict is Verdict.FAIL
    assert "manages namespace 'team-a' alone, not 'argo'" in health.message
    assert health.hint == "set namespace of [engines.it] in meta.toml"


@pytest.mark.parametrize("version", ["v3.5.2", "v4.9.0", "v5.0.0", "latest", ""])
async def test_a_version_that_is_not_known_warns_and_does_not_fail(version: str) -> None:
    async with ArgoStub() as one, argo(one.url) as first, KfpStub() as two, kfp(two.url) as second:
        one.version, two.version = version, version.replace("v3", "v1")
        for engine in (first, second):
            health = await engine.health()
            assert health.ok
            assert check(health, "version").verdict is Verdict.WARN
            assert "is written for" in check(health, "version").hint


@pytest.mark.parametrize("version", ["v3.6.0", "v3.7.18", "v4.1.9", "4.0.10+sandbox"])
def test_both_ends_of_a_range_are_known(version: str) -> None:
    probe = Probe()
    probe.version("It", version, ((3, 6), (4, 1)))
    assert probe.checks[0].verdict is Verdict.OK


async def test_kfp_is_asked_for_everything_that_a_run_needs_and_nothing_is_made() -> None:
    async with KfpStub() as stub, kfp(stub.url) as engine:
        stub.experiments["Default"] = {"experiment_id": "e-1", "display_name": "Default", "created_at": "2026"}
        health = await engine.health()
        assert health.ok, health
        assert verdicts(health) == {
            "reach": Verdict.OK, "version": Verdict.OK, "namespace": Verdict.OK, "list": Verdict.OK,
            "create": Verdict.OK, "outputs": Verdict.OK, "service account": Verdict.SKIP,
        }  # fmt: skip
        assert stub.requests["create"] == 1
        assert not stub.runs
        assert list(stub.experiments) == ["Default"]


async def test_kfp_without_the_right_to_create_fails() -> None:
    async with KfpStub() as stub, kfp(stub.url) as engine:
        stub.experiments["Default"] = {"experiment_id": "e-1", "display_name": "Default", "created_at": "2026"}
        stub.may_create = False
        health = await engine.health()
    assert not health.ok
    assert check(health, "create").verdict is Verdict.FAIL
    assert "service_account_token" in health.hint


async def test_kfp_without_an_experiment_is_not_asked_for_a_run() -> None:
    async with KfpStub() as stub, kfp(stub.url) as engine:
        health = await engine.health()
        assert health.ok
        assert check(health, "create").verdict is Verdict.SKIP
        assert not stub.experiments


async def test_kfp_for_several_users_needs_a_namespace() -> None:
    async with KfpStub() as stub:
        stub.multi_user = True
        async with kfp(stub.url) as engine:
            health = await engine.health()
            assert not health.ok
            assert "several users" in health.message
        async with kfp(stub.url, namespace="ml", service_account="trainer") as engine:
            health = await engine.health()
            assert health.ok
            assert check(health, "service account").hint == "kubectl --namespace ml get serviceaccount trainer"


async def test_an_engine_that_is_not_there_has_one_line() -> None:
    for engine in (argo("http://127.0.0.1:1"), kfp("http://127.0.0.1:1")):
        async with engine as it:
            health = await it.health()
        assert verdicts(health) == {"reach": Verdict.FAIL}
        assert "check url of [engines.it]" in health.hint


async def test_an_engine_that_goes_away_in_between_fails_where_it_did() -> None:
    probe = Probe()

    async def gone() -> str:
        raise EngineUnavailable("no answer", hint="look at it")

    assert not await probe.ask("list", gone, hint="give it rights")
    assert probe.health("v1", "").hint == "look at it"
