from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from temporalio.client import Client

from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceStub
from meta.client import MetaClient, RunFailed, RunView
from tests.integration.service.servers import CHAIN, Rig
from tests.integration.service.servers import rig as make_rig
from workflows.bundle import Bundle, build_bundle
from workflows.errors import Conflict, DefinitionInvalid, InputsInvalid, NotFound, ServiceUnavailable
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, StartRun
from workflows.outcome import FailureClass, Outcome, RunState, StepState


async def until(client: MetaClient, run_id: str, condition: Callable[[RunView], bool]) -> RunView:
    async with asyncio.timeout(20):
        async for run in client.watch(run_id):
            if condition(run):
                return run
    raise AssertionError("the run ended before")


def state_of(run: RunView, step: str) -> StepState:
    return next(s.state for s in run.steps if s.name == step)


async def test_a_chain_runs_from_a_file_and_gives_its_outputs(rig: Rig) -> None:
    async with rig.client() as client:
        started = await client.start(rig.chain(), {"rate": 2})
        assert started.created
        assert started.temporal_url == f"http://ui.test/namespaces/default/workflows/{started.id}"
        assert await client.result(started.id) == {"rate": 2.0}
        run = await client.get(started.id)
        assert (run.workflow, run.state, run.trigger, run.inputs["rate"]) == ("chain", RunState.SUCCEEDED, "api", 2)
        assert [(s.name, s.state, s.attempt) for s in run.steps] == [
            ("prepare", StepState.SUCCEEDED, 1),
            ("train", StepState.SUCCEEDED, 1),
        ]
        assert run.steps[0].run is not None
        assert run.steps[0].run.name.startswith("chain-prepare-")
        assert run.started_at is not None
        assert run.finished_at is not None


async def test_a_published_chain_starts_by_name(rig: Rig) -> None:
    async with rig.client() as client:
        published = await client.publish(rig.chain())
        assert (published.name, published.version) == ("chain", 1)
        assert [w.name for w in await client.workflows()] == ["chain"]
        started = await client.start("chain")
        assert (await client.wait(started.id)).bundle_digest == published.bundle_digest
        with pytest.raises(NotFound, match="did you mean 'chain'") as refused:
            await client.start("chian")
        assert refused.value.hint == "did you mean 'chain'?"


async def test_starting_twice_with_one_request_id_gives_the_same_run(rig: Rig) -> None:
    rig.engine.script["train"] = [None]
    async with rig.client() as client:
        await client.publish(rig.chain())
        starts = await asyncio.gather(*(client.start("chain", {"rate": 2}, request_id="r-1") for _ in range(5)))
        assert len({s.id for s in starts}) == 1
        assert [s.created for s in starts].count(True) == 1
        with pytest.raises(Conflict, match="other inputs"):
            await client.start("chain", {"rate": 3}, request_id="r-1")
        await client.publish(rig.chain(CHAIN.replace("Two steps of Argo", "Two newer steps")))
        assert (await client.start("chain", {"rate": 2}, request_id="r-1")).id == starts[0].id
        with pytest.raises(Conflict, match="another definition"):
            await client.start(rig.chain(CHAIN.replace("Two", "2")), {"rate": 2}, request_id="r-1")
        await until(client, starts[0].id, lambda r: state_of(r, "train") is StepState.RUNNING)
        rig.engine.finish("train")
        await client.result(starts[0].id)
        again = await client.start("chain", {"rate": 2}, request_id="r-1")
        assert (again.id, again.created) == (starts[0].id, False), "an ended run is not started again"
        assert len((await client.list()).runs) == 1


async def test_a_start_whose_record_was_lost_is_found_again(temporal: Client, tmp_path: Path) -> None:
    async with make_rig(temporal, tmp_path / "one") as first, first.client() as client:
        started = await client.start(first.chain(), {"rate": 2}, request_id="r-1")
    async with make_rig(temporal, tmp_path / "two") as second, second.client() as client:  # an empty store
        chain = second.chain()
        again = await client.start(chain, {"rate": 2}, request_id="r-1")
        assert (again.id, again.created) == (started.id, False)
        with pytest.raises(Conflict, match="other inputs"):
            await client.start(chain, {"rate": 3}, request_id="r-1")
        run = await client.get(started.id)
        assert [s.state for s in run.steps] == [StepState.PENDING, StepState.PENDING]


async def test_a_run_that_only_temporal_knows_can_be_looked_at(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    bundle = build_bundle(rig.chain())
    await rig.store.bundles.put(bundle)
    argument = StartRun(definition=bundle.definition, bundle_digest=bundle.digest, inputs={"rate": 1.0, "note": ""})
    await rig.temporal.start_workflow(WORKFLOW_TYPE, argument, id="chain-by-hand", task_queue=TASK_QUEUE)
    async with rig.client() as client:
        assert (await client.get("chain-by-hand")).workflow == "chain"
        await until(client, "chain-by-hand", lambda r: state_of(r, "prepare") is StepState.RUNNING)
        rig.engine.finish("prepare")
        assert (await client.wait("chain-by-hand")).state is RunState.SUCCEEDED


async def test_watch_tells_every_change_and_ends_with_the_run(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client:
        started = await client.start(rig.chain())
        seen: list[RunView] = []
        async with asyncio.timeout(20):
            async for run in client.watch(started.id):
                seen.append(run)
                if state_of(run, "prepare") is StepState.RUNNING:
                    rig.engine.finish("prepare")
    states = [state_of(run, "prepare") for run in seen]
    assert StepState.RUNNING in states
    assert states[-1] is StepState.SUCCEEDED
    assert seen[-1].state is RunState.SUCCEEDED
    assert all(a != b for a, b in itertools.pairwise(seen)), "nothing is told twice"


async def test_watch_continues_when_the_service_is_restarted(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client:
        started = await client.start(rig.chain())
        watching = asyncio.create_task(client.wait(started.id))
        await until(client, started.id, lambda r: state_of(r, "prepare") is StepState.RUNNING)
        await rig.restart()
        rig.engine.finish("prepare")
        async with asyncio.timeout(20):
            assert (await watching).state is RunState.SUCCEEDED


async def test_cancel_ends_the_run_and_cancelling_again_says_so(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client:
        started = await client.start(rig.chain())
        await until(client, started.id, lambda r: state_of(r, "prepare") is StepState.RUNNING)
        assert await client.cancel(started.id, "wrong data") is True
        async with asyncio.timeout(20):
            run = await client.wait(started.id)
        assert run.state is RunState.CANCELED
        assert rig.engine.terminated, "its engine run was ended"
        assert await client.cancel(started.id) is False
        with pytest.raises(RunFailed, match="canceled"):
            await client.result(started.id)
        with pytest.raises(NotFound, match="no run 'chain-x'"):
            await client.cancel("chain-x")


async def test_a_failed_run_carries_the_engines_message(rig: Rig) -> None:
    rig.engine.script["prepare"] = [Outcome(failure=FailureClass.FAILED, message="exit code 3 in split")]
    async with rig.client() as client:
        started = await client.start(rig.chain())
        with pytest.raises(RunFailed, match="exit code 3 in split") as failed:
            await client.result(started.id)
    assert state_of(failed.value.run, "prepare") is StepState.FAILED
    assert state_of(failed.value.run, "train") is StepState.SKIPPED


async def test_a_run_terminated_in_temporal_shows_as_terminated(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client:
        started = await client.start(rig.chain())
        await until(client, started.id, lambda r: state_of(r, "prepare") is StepState.RUNNING)
        await rig.temporal.get_workflow_handle(started.id).terminate(reason="by hand in the Web UI")
        async with asyncio.timeout(20):
            run = await client.wait(started.id)
    assert (run.state, run.message) == (RunState.TERMINATED, "terminated in Temporal: by hand in the Web UI")
    assert state_of(run, "prepare") is StepState.LOST


async def test_pages_of_runs_can_be_walked_and_filtered(rig: Rig) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain())
        ids = [(await client.start("chain")).id for _ in range(3)]
        for run_id in ids:
            await client.wait(run_id)
        first = await client.list(workflow="chain", size=2)
        second = await client.list(workflow="chain", size=2, token=first.next_token)
        assert [r.id for r in first.runs + second.runs] == ids[::-1]
        assert second.next_token == ""
        assert (await client.list(state=RunState.FAILED)).runs == []


async def test_inputs_that_do_not_fit_are_refused_by_name(rig: Rig) -> None:
    async with rig.client() as client:
        with pytest.raises(InputsInvalid, match="unknown input 'rat'") as refused:
            await client.start(rig.chain(), {"rat": 1})
        assert "did you mean 'rate'?" in refused.value.hint
        with pytest.raises(InputsInvalid, match="expected a number"):
            await client.start(rig.chain(), {"rate": "fast"})
        with pytest.raises(InputsInvalid, match=r"'note' is 10,000,002 bytes; at most 65,536"):
            await client.start(rig.chain(), {"note": "x" * 10_000_000})
        with pytest.raises(InputsInvalid, match="no JSON"):
            await client.start(rig.chain(), {"rate": float("nan")})
        assert (await client.list()).runs == []


async def test_a_ten_megabyte_parameter_is_refused_by_the_service_too(rig: Rig) -> None:
    async with rig.client() as client:
        digest = await client.put_bundle(build_bundle(rig.chain()))
    async with aio.insecure_channel(rig.address) as channel:
        request = pb.StartRequest(bundle_digest=digest, inputs_json=b'{"note": "%s"}' % (b"x" * 10_000_000))
        with pytest.raises(aio.AioRpcError) as refused:
            await MetaServiceStub(channel).Start(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'note'" in (refused.value.details() or "")
    assert "65,536" in (refused.value.details() or "")


async def test_errors_carry_standard_details_for_clients_in_any_language(rig: Rig) -> None:
    source = CHAIN.replace("needs: [prepare]", "needs: [prepair]")
    async with aio.insecure_channel(rig.address) as channel:
        stub = MetaServiceStub(channel)
        answer = await stub.Validate(pb.ValidateRequest(source=source, file="chain.yaml"))
        assert [(p.file, p.line) for p in answer.problems][:1] == [("chain.yaml", 12)]
        assert "prepair" in answer.problems[0].message

        bundle = build_bundle(rig.chain())
        broken = bundle.definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
        broken["steps"]["train"]["needs"] = ["prepair"]
        import json

        request = pb.PutBundleRequest(
            bundle=pb.Bundle(definition_json=json.dumps(broken).encode(), files=dict(bundle.files))
        )
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.PutBundle(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        trailer = refused.value.trailing_metadata()
        assert trailer is not None
        raw = trailer["grpc-status-details-bin"]
        assert isinstance(raw, bytes)
        info, bad = ErrorInfo(), BadRequest()
        for detail in Status.FromString(raw).details:
            _ = detail.Unpack(info) or detail.Unpack(bad)
        assert (info.reason, info.domain) == ("DEFINITION_INVALID", "meta-workflows")
        assert any("prepair" in violation.description for violation in bad.field_violations)

        with pytest.raises(aio.AioRpcError) as missing:
            await stub.Get(pb.GetRequest(run_id="nope"))
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(aio.AioRpcError) as wrong:
            await stub.Start(pb.StartRequest(workflow="a", bundle_digest="b"))
        assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(aio.AioRpcError) as garbage:
            await stub.Start(pb.StartRequest(workflow="a", inputs_json=b"[1"))
        assert "inputs_json is no JSON" in (garbage.value.details() or "")


async def test_the_sdk_raises_the_services_own_errors(rig: Rig) -> None:
    async with rig.client() as client:
        bundle = build_bundle(rig.chain())
        dumped = bundle.definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
        dumped["steps"]["train"]["needs"] = ["prepair"]
        broken = Bundle(definition=type(bundle.definition).model_validate(dumped), files=bundle.files)
        with pytest.raises(DefinitionInvalid) as refused:
            await client.put_bundle(broken)
        assert "prepair" in refused.value.problems[0].message
        assert [p.line for p in await client.validate(CHAIN.replace("[prepare]", "[x]"), "a.yaml")] == [12]
        assert await client.validate(CHAIN) == []


async def test_logs_of_a_run_come_by_step(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from meta.api.engines import Engines

    async def scripted(_self: Engines, _name: str) -> object:
        return rig.engine

    monkeypatch.setattr(Engines, "get", scripted)  # the service builds its engines from settings; this one has none
    rig.engine.script["train"] = [None]
    async with rig.client() as client:
        started = await client.start(rig.chain())

        async def following() -> list[str]:
            return [line.step async for line in client.logs(started.id, follow=True)]

        task = asyncio.create_task(following())
        await until(client, started.id, lambda r: state_of(r, "train") is StepState.RUNNING)
        rig.engine.finish("train")
        async with asyncio.timeout(20):
            assert sorted(await task) == ["prepare", "train"]
        assert [(e.step, e.text) async for e in client.logs(started.id)] == [("prepare", "a line"), ("train", "a line")]
        assert [e.step async for e in client.logs(started.id, "train")] == ["train"]
        with pytest.raises(NotFound, match="no step 'trian'"):
            _ = [e async for e in client.logs(started.id, "trian")]


async def test_health_and_reflection_answer(rig: Rig) -> None:
    async with aio.insecure_channel(rig.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for name in ("", "meta.v1.MetaService"):
            reply = await check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING

        async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        names = [s.name async for r in reflect(requests()) for s in r.list_services_response.service]
        assert "meta.v1.MetaService" in names


async def test_without_temporal_the_service_answers_and_says_what_is_missing(tmp_path: Path) -> None:
    from meta.config import DatabaseConfig, GrpcConfig, MetaConfig, TemporalConfig
    from meta.service import Service
    from tests.integration.service.servers import write_chain

    config = MetaConfig(
        temporal=TemporalConfig(address="127.0.0.1:1"),
        store=DatabaseConfig(url=f"sqlite+aiosqlite:///{tmp_path}/store.db"),
        grpc=GrpcConfig(address="127.0.0.1:0"),
    )
    async with Service(config) as service, MetaClient(service.address, patience_s=0) as client:
        assert (await client.publish(write_chain(tmp_path))).version == 1
        with pytest.raises(ServiceUnavailable, match="Temporal") as refused:
            await client.start("chain")
        assert "temporal.address" in refused.value.hint


async def test_a_port_that_is_taken_is_named(rig: Rig) -> None:
    from meta.config import GrpcConfig
    from meta.service import Service
    from workflows.errors import PortTaken

    config = rig.config.model_copy(update={"grpc": GrpcConfig(address=rig.address)})
    with pytest.raises(PortTaken, match=rig.address):
        await Service(config).__aenter__()


async def test_nobody_listening_is_said_in_our_words() -> None:
    async with MetaClient("127.0.0.1:1", patience_s=0) as client:
        with pytest.raises(ServiceUnavailable, match="the service does not answer") as refused:
            await client.get("x")
    assert "meta up" in refused.value.hint
