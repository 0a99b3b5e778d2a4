"""The one way to connect to NATS: triggers, the outbox, the bridge and `meta doctor` come through here."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import SecureConnWantedError, UnexpectedEOF

from meta.config import NatsConfig
from meta.nats_login import check_files, read_credentials, read_nkey, servers_of, sign, tls_context
from meta.nats_words import HungUpAfterTls, describe, is_denial, is_refusal
from workflows.errors import SettingsInvalid

__all__ = ["connect", "describe"]

RECONNECT_WAIT_S = 1.0
REPEAT_S = 60.0
"""The same trouble of connecting is told once in so many seconds; a lost connection meets it every second."""

LAST_WORD_S = 0.5
OnError = Callable[[Exception], Awaitable[None]]


async def connect(config: NatsConfig, name: str, on_error: OnError) -> Client:
    """Connect; the connection comes back by itself for ever.

    A server that throws us out (a login that has expired or was revoked) closes it for good: `on_error` hears of it,
    every call on it raises, and its holder connects anew. Credentials and certificates are read from their files each
    time, the seed of an NKey when connecting.

    Args:
        config: where, and who we are there.
        name: shown in the server's monitoring.
        on_error: told of what happens to the connection later, `describe` says it in words: each request to a subject
            that we may not use, and once a minute the same trouble of connecting again.

    Raises:
        nats.errors.Error, OSError, TimeoutError: nobody answers at any of the URLs, or we are not let in; `describe`
            says it in words. LoginInvalid (of both nats.errors.Error and SettingsInvalid): our own settings.
    """
    with _settings():
        check_files(config)
        servers, login = servers_of(config), _login(config)
    client = _Client(config, secure=servers.secure)
    watch = _Watch(client, on_error, len(servers.urls))
    try:
        await client.connect(
            servers.urls,
            name=name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # pyright: ignore[reportArgumentType] -- it sleeps so many seconds
            error_cb=watch.heard,
            closed_cb=watch.closed,
            **login,
        )
    except _GaveUp:
        raise watch.reason from None
    else:
        watch.phase = "connected"
        return client
    finally:
        if watch.phase != "connected":
            watch.phase = "given up"
            await client.close()


def _login(config: NatsConfig) -> dict[str, Any]:
    """Options of the client that say who we are."""
    servers = servers_of(config)
    token = config.token.get_secret_value() if config.token else servers.token
    password = config.password.get_secret_value() if config.password else servers.password
    options: dict[str, Any] = {"tls_hostname": config.tls_hostname or None}
    if token:
        options["token"] = token
    elif user := config.user or servers.user:
        options |= {"user": user, "password": password}
    elif file := config.nkey_file:
        options["nkeys_seed_str"] = read_nkey(file).decode()
    elif file := config.credentials_file:
        # not the client's own reader, which turns for ever in a file that has no JWT
        options["user_jwt_cb"] = partial(_jwt, file)
        options["signature_cb"] = partial(_signature, file)
    return options


def _jwt(file: Path) -> bytearray:
    with _settings():
        return bytearray(read_credentials(file)[0].encode())


def _signature(file: Path, nonce: str) -> bytes:
    with _settings():
        return sign(file, nonce)


class LoginInvalid(SettingsInvalid, NatsError):
    """Settings that cannot work; for who keeps a connection one more of its errors.

    A file may vanish while the service runs, and come back.
    """


class _GaveUp(Exception):
    """Every server was tried once; the client itself would go on for ever."""


@contextmanager
def _settings() -> Generator[None]:
    """Where settings and files are read, and the client takes its own errors alone: any other ends its tries."""
    try:
        yield
    except SettingsInvalid as error:
        raise LoginInvalid(error.message, hint=error.hint) from error


class _Watch:
    """Hears what the client meets: while it connects for the first time, and later."""

    def __init__(self, client: Client, on_error: OnError, servers: int) -> None:
        self._client = client
        self.phase: Literal["connecting", "connected", "given up"] = "connecting"
        self._on_error = on_error
        self._left = servers
        self._failures = list[Exception]()
        self._last: Exception | None = None
        self._told = dict[str, float]()

    async def heard(self, error: Exception) -> None:
        self._last = error
        if self.phase == "connected":
            await self._tell(error)
        elif self.phase == "connecting":
            self._failures.append(error)
            if len(self._failures) >= self._left:
                raise _GaveUp

    async def closed(self) -> None:
        """The connection is closed for good: by us, or by a server that says why in an error we have not heard."""
        error = self._client.last_error
        if self.phase == "connected" and error is not None and error is not self._last:
            await self._tell(error)

    @property
    def reason(self) -> Exception:
        """The one that tells most: that a server refused us, rather than that another is down."""
        return next((error for error in self._failures if is_refusal(error)), self._failures[-1])

    async def _tell(self, error: Exception) -> None:
        words, now = describe(error), time.monotonic()
        if not is_denial(error) and now - self._told.get(words, -REPEAT_S) < REPEAT_S:
            return
        self._told = {text: at for text, at in self._told.items() if now - at < REPEAT_S} | {words: now}
        await self._on_error(error)


class _Client(Client):
    """The client, with TLS that is insisted on and files that are read anew for each connection."""

    def __init__(self, config: NatsConfig, *, secure: bool) -> None:
        super().__init__()
        self._config = config
        self._secure = secure

    @property
    def ssl_context(self) -> ssl.SSLContext:
        with _settings():
            return tls_context(self._config)

    async def _process_connect_init(self) -> None:
        """Greet; where that fails the socket is dropped here, for after a failed TLS handshake its end never comes."""
        try:
            await super()._process_connect_init()
            if not self.is_connected:  # the server hung up before its answer, which the client takes for one
                for name in ("_reading_task", "_ping_interval_task", "_flusher_task"):
                    cast("asyncio.Task[None]", getattr(self, name)).cancel()
                raise UnexpectedEOF
        except (ConnectionError, UnexpectedEOF) as error:
            if (word := await self._last_word()) is not None:
                raise word from error
            if self._server_info.get("tls_required"):
                raise HungUpAfterTls from error
            raise
        finally:
            if not self.is_connected and self._transport is not None:
                self._transport.close()
                self._transport = None

    async def _last_word(self) -> Exception | None:
        """What the server said before it hung up while we were writing: an error, or an alert of TLS."""
        assert self._transport is not None
        try:
            line = await asyncio.wait_for(self._transport.readline(), LAST_WORD_S)
        except ssl.SSLError as alert:
            return alert
        except (OSError, TimeoutError):
            return None
        return NatsError(line.decode(errors="replace").strip()) if line.startswith(b"-ERR") else None

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Take the server's greeting, after which the client would log in without TLS where it is not required."""
        if initial_connection and self._secure and not info.get("tls_required"):
            if not info.get("tls_available"):
                raise SecureConnWantedError
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)
