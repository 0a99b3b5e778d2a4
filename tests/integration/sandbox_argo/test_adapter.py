"""The Argo adapter, which knows only the real server's API, on the sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import pytest_asyncio
import yaml
from pydantic import SecretStr

from meta.sandbox.argo import ArgoSandboxSettings
from tests.integration.engines.submissions import Pulse, argo_submission, key
from tests.integration.sandbox_argo.conftest import NOTHING, Argo, alive, shell, workflow
from tests.support.objects import BUCKET, ObjectServer
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.settings import ArgoSettings, StoreSettings
from workflows.naming import engine_run_name
from workflows.outcome import Artifact, EngineRunRef, FailureClass
from workflows.values import JsonObject


@pytest_asyncio.fixture
async def engine(argo: Argo, objects: ObjectServer) -> AsyncIterator[ArgoEngine]:
    store = ArtifactStore(
        StoreSettings(
            endpoint=objects.endpoint,
            access_key=SecretStr(objects.access_key),
            secret_key=SecretStr(objects.secret_key),
        )
    )
    engine = ArgoEngine("sandbox", ArgoSettings(url=argo.url, settle_delay=0.2, request_timeout=20), store)
    yield engine
    await engine.close()


def text_of(manifest: JsonObject) -> str:
    return yaml.safe_dump(json.loads(json.dumps(manifest)))


async def test_a_run_is_submitted_once_waited_for_and_its_outputs_are_read(
    engine: ArgoEngine, objects: ObjectServer
) -> None:
    objects.put("adapter/in.txt", b"17\n")
    leaf = shell(
        "main", "echo $(($(cat /tmp/in) * {{inputs.parameters.by}})) | tee /tmp/out > /tmp/value",
        inputs={"parameters": [{"name": "by"}], "artifacts": [{"name": "data-set", "path": "/tmp/in"}]},
        outputs={"parameters": [{"name": "value", "valueFrom": {"path": "/tmp/value"}}],
                 "artifacts": [{"name": "out", "path": "/tmp/out", "archive": {"none": NOTHING}}]},
    )  # fmt: skip
    arguments = {"parameters": [{"name": "by", "value": "1"}], "artifacts": [{"name": "data-set"}]}
    submission = argo_submission(
        manifest=text_of(workflow("x", "main", leaf, arguments=arguments)),
        parameters={"by": 2},
        artifacts={"data_set": Artifact(name="data_set", uri=f"s3://{BUCKET}/adapter/in.txt")},
    )
    ref = await engine.submit(submission)
    assert await engine.submit(submission) == ref
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 30)
    assert outcome.succeeded, outcome.message
    assert outcome.outputs == {"value": "34"}
    assert outcome.artifacts["out"].uri == f"s3://{BUCKET}/{ref.name}/{ref.name}/out"
    assert objects.get(f"{ref.name}/{ref.name}/out") == b"34\n"
    assert [(node.type, node.phase, node.exit_code) for node in outcome.nodes] == [("Pod", "Succeeded", 0)]
    assert (await engine.health()).ok


async def test_a_wait_ends_when_the_run_is_terminated(engine: ArgoEngine) -> None:
    ref = await engine.submit(
        argo_submission(manifest=text_of(workflow("x", "main", shell("main", "echo $$; sleep 300"))))
    )
    waiting = asyncio.create_task(engine.wait(ref, Pulse()))
    lines = [line async for line in engine.logs(ref)]
    while not lines:
        await asyncio.sleep(0.05)
        lines = [line async for line in engine.logs(ref)]
    assert alive(int(lines[0].text))
    assert await engine.terminate(key(), engine_run_name("chain", key()), ref)
    assert not alive(int(lines[0].text))
    outcome = await asyncio.wait_for(waiting, 10)
    assert outcome.failure is FailureClass.CANCELLED


async def test_a_run_is_stopped_so_that_its_exit_handler_runs_to_the_end(
    engine: ArgoEngine, settings: ArgoSandboxSettings
) -> None:
    done = settings.data_dir / "cleaned"
    manifest = workflow(
        "x", "main", shell("main", "echo up; sleep 300"), shell("clean", f"sleep 1; touch {done}"), onExit="clean"
    )
    ref = await engine.submit(argo_submission(manifest=text_of(manifest)))
    await first_line(engine, ref)
    assert await engine.terminate(key(), engine_run_name("chain", key()), ref, grace=60)
    assert done.exists()
    assert (await engine.wait(ref, Pulse())).failure is FailureClass.CANCELLED


async def test_a_run_whose_exit_handler_takes_longer_than_its_grace_is_terminated(engine: ArgoEngine) -> None:
    manifest = workflow("x", "main", shell("main", "echo up; sleep 300"), shell("clean", "sleep 300"), onExit="clean")
    ref = await engine.submit(argo_submission(manifest=text_of(manifest)))
    await first_line(engine, ref)
    assert await engine.terminate(key(), engine_run_name("chain", key()), ref, grace=1)
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 30)
    assert outcome.failure is FailureClass.CANCELLED


async def test_a_failed_run_tells_exit_codes_and_the_last_lines_of_its_pods(engine: ArgoEngine) -> None:
    script = "for i in $(seq 1 30); do echo line $i; done; exit 7"
    ref = await engine.submit(argo_submission(manifest=text_of(workflow("x", "main", shell("main", script)))))
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 30)
    (node,) = outcome.failed_nodes
    assert (outcome.phase, node.exit_code) == ("Failed", 7)
    assert node.log == [f"line {i}" for i in range(11, 31)]


async def first_line(engine: ArgoEngine, ref: EngineRunRef) -> None:
    """Until a pod has written something."""
    while not [line async for line in engine.logs(ref)]:
        await asyncio.sleep(0.05)


async def test_a_failed_run_is_resumed_in_place(engine: ArgoEngine, settings: ArgoSandboxSettings) -> None:
    flag = settings.data_dir / "flag"
    manifest = text_of(workflow("x", "main", shell("main", f"cat {flag}")))
    ref = await engine.submit(argo_submission(manifest=manifest))
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 30)
    assert outcome.failure is FailureClass.FAILED
    assert "main: Error (exit code 1)" in outcome.message
    flag.write_text("")
    assert await engine.resume(ref, key(attempt=2)) == ref
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 30)
    assert outcome.succeeded, outcome.message


async def test_a_deleted_run_is_lost(engine: ArgoEngine, argo: Argo) -> None:
    ref = await engine.submit(argo_submission(manifest=text_of(workflow("x", "main", shell("main", "sleep 300")))))
    waiting = asyncio.create_task(engine.wait(ref, Pulse()))
    await asyncio.to_thread(argo.until, ref.name, lambda status: status.get("phase") == "Running")
    await asyncio.to_thread(argo.call, "DELETE", f"/workflows/argo/{ref.name}")
    outcome = await asyncio.wait_for(waiting, 20)
    assert outcome.failure is FailureClass.LOST


async def test_a_directory_is_an_archive_by_default_and_a_prefix_where_the_manifest_says_none(
    engine: ArgoEngine, objects: ObjectServer
) -> None:
    fill = "mkdir -p /tmp/packed/deep /tmp/plain/deep; echo 1 > /tmp/packed/deep/a; echo 1 > /tmp/plain/deep/a"
    made: dict[str, object] = {"artifacts": [
        {"name": "packed", "path": "/tmp/packed"},
        {"name": "plain", "path": "/tmp/plain", "archive": {"none": NOTHING}},
    ]}  # fmt: skip
    ref = await engine.submit(
        argo_submission(manifest=text_of(workflow("x", "main", shell("main", fill, outputs=made))))
    )
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 30)
    assert outcome.succeeded, outcome.message
    packed, plain = outcome.artifacts["packed"], outcome.artifacts["plain"]
    assert packed.uri == f"s3://{BUCKET}/{ref.name}/{ref.name}/packed.tgz"
    assert packed.metadata == {"archive": "tar+gzip"}
    assert objects.read(packed.uri).startswith(b"\x1f\x8b")
    assert packed.sha256 == hashlib.sha256(objects.read(packed.uri)).hexdigest()
    assert plain.uri == f"s3://{BUCKET}/{ref.name}/{ref.name}/plain"
    assert plain.metadata == {}
    line = "\0".join(["deep/a", "2", hashlib.sha256(b"1\n").hexdigest()]) + "\n"
    assert (plain.size, plain.sha256) == (2, hashlib.sha256(line.encode()).hexdigest())

    read: dict[str, object] = {"artifacts": [{"name": n, "path": f"/tmp/{n}"} for n in ("packed", "plain")]}
    both = shell("main", "cat /tmp/packed/deep/a /tmp/plain/deep/a > /tmp/sum", inputs=read, outputs={
        "parameters": [{"name": "sum", "valueFrom": {"path": "/tmp/sum"}}],
    })  # fmt: skip
    arguments = {"artifacts": [{"name": "packed"}, {"name": "plain"}]}
    given = argo_submission(
        manifest=text_of(workflow("y", "main", both, arguments=arguments)),
        run_key=key(attempt=2),
        artifacts={"packed": packed, "plain": plain},
    )
    outcome = await asyncio.wait_for(engine.wait(await engine.submit(given), Pulse()), 30)
    assert outcome.succeeded, outcome.message
    assert outcome.outputs == {"sum": "1\n1"}, "Argo opens the archive by itself, and fetches the prefix as a directory"
