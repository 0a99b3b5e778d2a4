"""Every way to log in at a real nats-server: it lets us in, and a wrong one says what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import SecretStr

from meta.config import NatsConfig
from meta.nats import LoginInvalid, connect, describe
from tests.integration.service.servers import nats_server
from tests.support.certificates import Authority
from tests.support.heard import Heard
from tests.support.nats_accounts import Key, Operator
from tests.support.ports import free_port

SECRET = "s3cret-of-the-test"


@asynccontextmanager
async def connected(config: NatsConfig, heard: Heard | None = None) -> AsyncGenerator[Client]:
    client = await connect(config, "test", (heard or Heard()).hear)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meta.nats.RECONNECT_WAIT_S", 0.1)


async def lets_in(config: NatsConfig) -> None:
    async with connected(config) as client:
        await client.jetstream().account_info()


async def refused(config: NatsConfig) -> str:
    """What is said to people when we are not let in; it ends by itself, and soon."""
    async with asyncio.timeout(20):
        with pytest.raises((NatsError, OSError, TimeoutError)) as error:
            await connect(config, "test", Heard().hear)
    words = describe(error.value)
    assert SECRET not in words
    assert "\n" not in words
    return words


async def test_a_token_lets_us_in_and_a_wrong_one_says_so(tmp_path: Path) -> None:
    async with nats_server(tmp_path, f'authorization {{ token: "{SECRET}" }}') as server:
        await lets_in(NatsConfig(url=server.url, token=SecretStr(SECRET)))
        await lets_in(NatsConfig(url=server.url.replace("//", f"//{SECRET}@")))
        for config in (NatsConfig(url=server.url), NatsConfig(url=server.url, token=SecretStr("wrong"))):
            words = await refused(config)
            assert "does not let us in (authorization violation)" in words
            assert "nats.token" in words


async def test_a_user_with_a_password_is_let_in_wherever_the_two_stand(tmp_path: Path) -> None:
    async with nats_server(tmp_path, f'authorization {{ user: "me@here", password: "{SECRET}/1" }}') as server:
        await lets_in(NatsConfig(url=server.url, user="me@here", password=SecretStr(f"{SECRET}/1")))
        await lets_in(NatsConfig(url=server.url.replace("//", f"//me%40here:{SECRET}%2F1@")))
        wrong = NatsConfig(url=server.url.replace("//", f"//me%40here:{SECRET}@"))
        assert "does not let us in" in await refused(wrong)


async def test_an_nkey_lets_us_in(tmp_path: Path) -> None:
    key = Key.make()
    async with nats_server(tmp_path, f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}") as server:
        await lets_in(NatsConfig(url=server.url, nkey_file=key.write(tmp_path / "user.nk")))
        other = Key.make().write(tmp_path / "other.nk")
        assert "does not let us in" in await refused(NatsConfig(url=server.url, nkey_file=other))


async def test_a_credentials_file_lets_us_in(tmp_path: Path) -> None:
    operator = Operator()
    async with nats_server(tmp_path, operator.settings) as server:
        file = operator.credentials(tmp_path / "user.creds")
        await lets_in(NatsConfig(url=server.url, credentials_file=file))
        stranger = Operator().credentials(tmp_path / "stranger.creds")
        assert "does not let us in" in await refused(NatsConfig(url=server.url, credentials_file=stranger))
        assert "does not let us in" in await refused(NatsConfig(url=server.url))


async def test_a_login_that_expires_closes_the_connection_and_its_holder_hears_why(tmp_path: Path) -> None:
    operator = Operator()
    async with nats_server(tmp_path, operator.settings) as server:
        config = NatsConfig(url=server.url, credentials_file=operator.credentials(tmp_path / "user.creds", 2))
        heard = Heard()
        async with connected(config, heard) as client:
            assert "renew nats.credentials_file" in await heard.until("expired")
            assert client.is_closed
        operator.credentials(tmp_path / "user.creds")
        await lets_in(config)


async def test_credentials_are_read_anew_for_each_connection(tmp_path: Path) -> None:
    operator = Operator()
    file = operator.credentials(tmp_path / "user.creds")
    async with nats_server(tmp_path, operator.settings) as server:
        heard = Heard()
        async with connected(NatsConfig(url=server.url, credentials_file=file), heard) as client:
            file.write_text("being written")
            await server.stop()
            await server.start()
            assert str(file) in await heard.until("there is no user JWT")
            operator.credentials(file)
            async with asyncio.timeout(20):
                while not client.is_connected:
                    await asyncio.sleep(0.05)
            await client.jetstream().account_info()


async def test_a_password_that_changes_under_a_connection_is_told_once_and_not_every_second(tmp_path: Path) -> None:
    async with nats_server(tmp_path, f'authorization {{ token: "{SECRET}" }}') as server:
        heard = Heard()
        async with connected(NatsConfig(url=server.url, token=SecretStr(SECRET)), heard) as client:
            await server.stop()
            server.settings = 'authorization { token: "another" }'
            await server.start()
            await heard.until("does not let us in")
            tries = client.server_pool[0].reconnects
            async with asyncio.timeout(20):
                while client.server_pool[0].reconnects < tries + 3:
                    await asyncio.sleep(0.05)
            assert sum("does not let us in" in text for text in heard.words) == 1


def tls(authority: Authority, *hosts: str, more: str = "") -> str:
    made = authority.sign("server", *hosts)
    return f'tls {{ cert_file: "{made.cert_file}", key_file: "{made.key_file}", timeout: 5, {more} }}'


async def test_tls_needs_a_ca_that_signed_the_servers_certificate(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    async with nats_server(tmp_path, tls(authority, "127.0.0.1")) as server:
        for url in (server.url, server.url.replace("nats://", "tls://")):
            await lets_in(NatsConfig(url=url, tls_ca_file=authority.file))
            words = await refused(NatsConfig(url=url, tls_ca_file=other.file))
            assert "not to be trusted" in words
            assert "nats.tls_ca_file" in words
            assert "nats.tls_ca_file" in await refused(NatsConfig(url=url))


async def test_a_certificate_for_another_name_needs_that_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with nats_server(tmp_path, tls(authority, "nats.example")) as server:
        config = NatsConfig(url=server.url, tls_ca_file=authority.file)
        assert "set nats.tls_hostname to a name that is in it" in await refused(config)
        await lets_in(config.model_copy(update={"tls_hostname": "nats.example"}))
        wrong = config.model_copy(update={"tls_hostname": "other.example"})
        assert "for another name" in await refused(wrong)


async def test_a_server_that_asks_for_a_certificate_gets_ours(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    more = f'ca_file: "{authority.file}", verify: true'
    async with nats_server(tmp_path, tls(authority, "127.0.0.1", more=more)) as server:
        ours, foreign = authority.sign("client"), other.sign("foreign")
        config = NatsConfig(url=server.url, tls_ca_file=authority.file)
        pair = {"tls_cert_file": ours.cert_file, "tls_key_file": ours.key_file}
        await lets_in(config.model_copy(update=pair))
        for update in ({}, {"tls_cert_file": foreign.cert_file, "tls_key_file": foreign.key_file}):
            words = await refused(config.model_copy(update=update))
            assert "nats.tls_cert_file and nats.tls_key_file" in words


async def test_nothing_is_sent_to_a_server_without_tls_when_tls_is_asked_for(tmp_path: Path) -> None:
    got = list[bytes]()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1000,"auth_required":true}\r\n')
        await writer.drain()
        got.append(await reader.read())
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        for config in (
            NatsConfig(url=f"tls://127.0.0.1:{port}", token=SecretStr(SECRET)),
            NatsConfig(url=f"nats://me:{SECRET}@127.0.0.1:{port}", tls_ca_file=Authority(tmp_path).file),
        ):
            assert "the server offers no TLS" in await refused(config)
        async with asyncio.timeout(10):
            while len(got) < 2:
                await asyncio.sleep(0.02)
    assert got == [b"", b""]


async def test_a_server_that_hangs_up_in_the_greeting_is_tried_again() -> None:
    asked = 0

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1000}\r\n')
        await reader.readuntil(b"PING\r\n")
        if asked in (1, 4):
            writer.write(b"PONG\r\n")
            await writer.drain()
            while asked == 4 and (line := await reader.readline()):
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    heard = Heard()
    config = NatsConfig(url=f"127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    async with listener, connected(config, heard) as client:
        await heard.until("hung up")
        async with asyncio.timeout(20):
            while asked < 4 or not client.is_connected:
                await asyncio.sleep(0.05)
        assert asked == 4


async def test_tls_that_the_server_leaves_open_is_used_when_it_is_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with nats_server(tmp_path, tls(authority, "127.0.0.1") + "\nallow_non_tls: true") as server:
        await lets_in(NatsConfig(url=server.url))
        config = NatsConfig(url=server.url.replace("nats://", "tls://"), tls_ca_file=authority.file)
        await lets_in(config)
        other = config.model_copy(update={"tls_ca_file": Authority(tmp_path, "other").file})
        assert "not to be trusted" in await refused(other)


async def test_of_several_servers_one_that_answers_is_enough(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with nats_server(tmp_path, f'authorization {{ user: me, password: "{SECRET}" }}') as server:
        here = server.url.removeprefix("nats://")
        await lets_in(NatsConfig(url=f"nats://{nobody}, nats://{here}", user="me", password=SecretStr(SECRET)))
        await lets_in(NatsConfig(url=f"nats://{nobody},nats://me:{SECRET}@{here},"))
        words = await refused(NatsConfig(url=f"{here},{nobody}", user="me", password=SecretStr("wrong")))
        assert "does not let us in" in words, "it tells more than that the other is down"


async def test_where_nobody_listens_is_said_at_once() -> None:
    assert "Connect call failed" in await refused(NatsConfig(url=f"nats://127.0.0.1:{free_port()}"))


async def test_a_subject_that_we_may_not_use_is_told_by_name(tmp_path: Path) -> None:
    rights = 'permissions: { publish: ["ok.>"], subscribe: ["_INBOX.>"] }'
    settings = f'authorization {{ users: [ {{ user: me, password: "{SECRET}", {rights} }} ] }}'
    async with nats_server(tmp_path, settings) as server:
        heard = Heard()
        async with connected(NatsConfig(url=server.url, user="me", password=SecretStr(SECRET)), heard) as client:
            await client.publish("not.ok", b"")
            assert "we may not publish to not.ok" in await heard.until("not.ok")
            heard.words.clear()
            await client.publish("not.ok", b"")
            await heard.until("not.ok")
            await client.subscribe("no.ears")
            assert "we may not subscribe to no.ears" in await heard.until("no.ears")
            assert client.is_connected


async def test_a_file_that_is_missing_is_an_error_of_the_connection_and_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(LoginInvalid, match=r"nats\.credentials_file") as error:
        await connect(NatsConfig(url="nats://127.0.0.1:1", credentials_file=tmp_path / "no.creds"), "x", Heard().hear)
    assert isinstance(error.value, NatsError)
    assert error.value.code == "SETTINGS_INVALID"
