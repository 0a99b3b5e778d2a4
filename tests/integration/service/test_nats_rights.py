"""What `meta doctor` says of NATS, and the least rights that the service's user needs there."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import nats as nats_client
import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError
from pydantic import SecretStr
from temporalio.client import Client

from meta.config import DatabaseConfig, GrpcConfig, MetaConfig, NatsConfig, TemporalConfig
from meta.nats import connect
from meta.service import Service
from meta.stack import checks
from tests.integration.service.servers import nats_server
from tests.integration.service.servers import rig as make_rig
from tests.support.heard import Heard
from workers.engines.base import Verdict
from workflows.errors import SettingsInvalid

SECRET = "s3cret-of-the-test"
PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


def user(rights: str) -> str:
    """A server with one user for the service, and one who may do everything."""
    meta = f'{{ user: meta, password: "{SECRET}", permissions: {rights} }}'
    admin = f'{{ user: admin, password: "{SECRET}" }}'
    return f"accounts {{ APP {{ jetstream: enabled, users: [ {meta}, {admin} ] }} }}"


def documented_rights() -> str:
    found = re.search(r"```hocon\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1].partition("permissions:")[2].strip().removesuffix("}").strip()


async def doctor(url: str, **values: object) -> checks.Finding:
    found = await checks.nats(MetaConfig(nats=NatsConfig.model_validate({"url": url, **values})))
    assert SECRET not in found.detail + found.hint
    return found


async def test_the_doctor_connects_as_the_service_does(tmp_path: Path) -> None:
    async with nats_server(tmp_path, user('{ publish: ">", subscribe: ">" }')) as server:
        good = await doctor(server.url, user="meta", password=SECRET)
        assert (good.verdict, good.detail) == (Verdict.OK, f"{server.url}, JetStream on")
        inside = await doctor(server.url.replace("//", f"//meta:{SECRET}@"))
        assert (inside.verdict, inside.detail) == (Verdict.OK, f"{server.url}, JetStream on")
        bad = await doctor(server.url, user="meta", password="wrong")
        assert bad.verdict is Verdict.FAIL
        assert "does not let us in" in bad.detail
        missing = await doctor(server.url, nkey_file=tmp_path / "no.nk")
        assert missing.verdict is Verdict.FAIL
        assert missing.detail.startswith("nats.nkey_file: ")
        assert "check the path" in missing.hint


async def test_the_doctor_names_a_right_that_is_missing_and_jetstream_that_is_off(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "a", user('{ publish: ["other"], subscribe: ["_INBOX.>"] }')) as server:
        found = await doctor(server.url, user="meta", password=SECRET)
        assert "we may not publish to $js.api.info (" in found.detail
    settings = f'accounts {{ APP {{ users: [ {{ user: meta, password: "{SECRET}" }} ] }} }}'
    async with nats_server(tmp_path / "b", settings) as server:
        found = await doctor(server.url, user="meta", password=SECRET)
        assert "JetStream is not switched on" in found.detail


async def test_the_service_works_with_the_rights_that_the_page_lists(
    temporal: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with nats_server(tmp_path / "nats", user(documented_rights())) as server:
        login = server.url.replace("//", f"//meta:{SECRET}@")
        async with make_rig(temporal, tmp_path, login) as rig, rig.client() as client:
            await rig.work()
            assert rig.service.triggers is not None
            await client.publish(rig.chain())
            async with asyncio.timeout(20):
                await rig.service.triggers.ready.wait()
            admin = await nats_client.connect(server.url.replace("//", f"//admin:{SECRET}@"))
            await admin.jetstream().publish("meta.trigger.chain", b"{}")
            await admin.jetstream().publish("meta.trigger.nobody", b"{}")
            async with asyncio.timeout(20):
                while {row.outcome for row in await rig.store.triggers.list()} != {"started", "dead"}:
                    await asyncio.sleep(0.05)
            async with asyncio.timeout(20):  # it is written down first, and published then
                while (letter := await _last(admin.jetstream(), "meta.dead.nobody")) is None:
                    await asyncio.sleep(0.05)
            assert letter == b"{}"
            await admin.close()
        assert "we may not" not in caplog.text
        assert SECRET not in caplog.text


async def _last(jetstream: JetStreamContext, subject: str) -> bytes | None:
    """The last dead letter on a subject, if there is one yet."""
    try:
        return (await jetstream.get_last_msg("META_DEAD", subject)).data
    except NotFoundError:
        return None


async def test_a_service_does_not_start_with_a_file_that_is_missing(tmp_path: Path) -> None:
    config = MetaConfig(
        temporal=TemporalConfig(address="127.0.0.1:1"),  # nobody is asked
        nats=NatsConfig(url="nats://127.0.0.1:1", credentials_file=tmp_path / "no.creds"),
        store=DatabaseConfig(url=f"sqlite+aiosqlite:///{tmp_path}/store.db"),
        grpc=GrpcConfig(address="127.0.0.1:0"),
    )
    with pytest.raises(SettingsInvalid, match=r"nats\.credentials_file: .* cannot be read"):
        await Service(config).__aenter__()


async def test_the_listed_rights_are_enough_for_consumers_of_triggers_and_for_events_and_for_no_more(
    tmp_path: Path,
) -> None:
    heard = Heard()
    async with nats_server(tmp_path, user(documented_rights())) as server:
        admin = await nats_client.connect(server.url.replace("//", f"//admin:{SECRET}@"))
        await admin.jetstream().add_stream(StreamConfig(name="DATA", subjects=["data.>"]))
        config = NatsConfig(url=server.url, user="meta", password=SecretStr(SECRET))
        client = await connect(config, "test", heard.hear)
        js = client.jetstream(timeout=10)
        await js.account_info()
        for name, subject in (("TRIGGERS", "trigger"), ("DEAD", "dead"), ("EVENTS", "events")):
            made = StreamConfig(name=f"META_{name}", subjects=[f"meta.{subject}.>"])
            await js.add_stream(made)
            await js.update_stream(made)
            await js.stream_info(f"META_{name}")
        assert await js.find_stream_name_by_subject("data.set.ready") == "DATA"
        assert {info.config.name for info in await js.streams_info()} >= {"DATA", "META_EVENTS"}
        await js.publish("meta.events.chain.run.started", b"{}")
        for stream, subject in (("DATA", "data.*.ready"), ("META_TRIGGERS", "meta.trigger.chain")):
            durable = ConsumerConfig(
                durable_name="meta-chain-ready", ack_policy=AckPolicy.EXPLICIT, filter_subject=subject
            )
            await js.add_consumer(stream, durable)
            await admin.publish(subject.replace("*", "set"), b"{}")
            reader = await js.pull_subscribe_bind("meta-chain-ready", stream)
            [message] = await reader.fetch(1, timeout=10)
            await message.in_progress()
            await message.nak()
            [message] = await reader.fetch(1, timeout=10)
            await message.ack_sync()
            await js.consumer_info(stream, "meta-chain-ready")
            names = [one.name for one in await js.consumers_info(stream)]
            assert names == ["meta-chain-ready"]
            await reader.unsubscribe()
            await js.delete_consumer(stream, "meta-chain-ready")
        await client.flush()
        assert heard.words == []
        forbidden = ("data.set.ready", "$JS.API.STREAM.DELETE.META_DEAD", "$JS.API.STREAM.PURGE.DATA")
        for subject in (*forbidden, "$JS.API.CONSUMER.DELETE.DATA.another"):
            await client.publish(subject, b"{}")
            await heard.until(f"we may not publish to {subject.lower()}")
        await client.close()
        await admin.close()


def test_the_pages_example_is_a_configuration(tmp_path: Path) -> None:
    section = PAGE.partition("## NATS with credentials")[2]
    text = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)[0]
    config = MetaConfig.model_validate(tomllib.loads(text))
    assert config.nats.credentials_file is not None
    assert config.nats.url.startswith("tls://")
