"""Who we are at NATS, and whom we trust there: the `[nats]` settings, checked.

Messages name keys and files, never what is in them.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import SplitResult, unquote, urlsplit

from workflows.errors import SettingsInvalid

if TYPE_CHECKING:
    from meta.config import NatsConfig

_SCHEMES = ("nats", "tls")
_PORT = 4222
_BEGIN = "docs/configuration.md shows each way to log in"
_JWT = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_SEED = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")


@dataclass(frozen=True, slots=True)
class Servers:
    """What `nats.url` says.

    Attributes:
        urls: without users and passwords.
        secure: whether to insist on TLS: a URL or a key of TLS says so.
        user: with `password`, or `token`: what stands in the URLs; empty for nothing.
    """

    urls: list[str]
    secure: bool
    user: str = ""
    password: str = ""
    token: str = ""


class KeyPair(Protocol):
    """What we use of a pair of keys; its library has no types."""

    @property
    def public_key(self) -> bytes: ...
    def sign(self, input: bytes) -> bytes: ...
    def wipe(self) -> None: ...


def servers_of(config: NatsConfig) -> Servers:
    """Where to connect.

    Raises:
        SettingsInvalid: a URL is none, or two of them log in differently.
    """
    parts = [_split(part.strip()) for part in config.url.split(",") if part.strip()]
    users = {(part.username, part.password) for part in parts if part.username}
    if len(users) > 1:
        raise SettingsInvalid("nats.url: its URLs carry several logins", hint="one login is good for all servers")
    user, password = users.pop() if users else (None, None)
    tls = (config.tls_ca_file, config.tls_cert_file, config.tls_key_file, config.tls_hostname)
    return Servers(
        urls=[_plain(part) for part in parts],
        secure=any(tls) or any(part.scheme == "tls" for part in parts),
        user=unquote(user or "") if password is not None else "",
        password=unquote(password or ""),
        token=unquote(user or "") if password is None else "",
    )


def shown(config: NatsConfig) -> str:
    """Where we connect to, for people: no user, no password."""
    try:
        return ", ".join(servers_of(config).urls)
    except SettingsInvalid:
        return "nats.url"


def check_login(config: NatsConfig) -> None:
    """Make sure that the settings go together; no file is touched.

    Raises:
        SettingsInvalid: which keys, and the mend.
    """
    servers = servers_of(config)
    for name, value, other, partner in (
        ("user", config.user, "password", config.password),
        ("tls_cert_file", config.tls_cert_file, "tls_key_file", config.tls_key_file),
    ):
        if bool(value) != bool(partner):
            there, missing = (name, other) if value else (other, name)
            raise SettingsInvalid(f"nats.{there} without nats.{missing}", hint=f"set nats.{missing} too, or neither")
    ways = {
        "the login in nats.url": servers.user or servers.token,
        "nats.token": config.token,
        "nats.user": config.user,
        "nats.credentials_file": config.credentials_file,
        "nats.nkey_file": config.nkey_file,
    }
    taken = [name for name, value in ways.items() if value]
    if len(taken) > 1:
        raise SettingsInvalid(f"{' and '.join(taken)}: {len(taken)} ways to log in", hint=f"keep one; {_BEGIN}")


def check_files(config: NatsConfig) -> None:
    """Make sure that everything is there to log in with, files and what is in them.

    Raises:
        SettingsInvalid: which keys, and the mend.
    """
    check_login(config)
    if not servers_of(config).urls:
        raise SettingsInvalid("nats.url: there is none", hint="set it to nats://host:4222")
    if config.credentials_file:
        read_credentials(config.credentials_file)
    if config.nkey_file:
        read_nkey(config.nkey_file)
    tls_context(config)


def read_credentials(file: Path) -> tuple[str, bytes]:
    """JWT and seed of a user.

    Raises:
        SettingsInvalid: no such file, or it is no credentials file.
    """
    text = _text("credentials_file", file)
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        missing = "user JWT" if jwt is None else "user's seed"
        raise SettingsInvalid(
            f"nats.credentials_file: there is no {missing} in {file}",
            hint="make it with `nsc generate creds`; it has a BEGIN NATS USER JWT and a BEGIN USER NKEY SEED",
        )
    secret = seed[1].encode()
    _use("credentials_file", file, secret, lambda keys: keys.public_key)
    return jwt[1], secret


def read_nkey(file: Path) -> bytes:
    """The seed of a user's NKey, from a file that holds nothing else but comments.

    Raises:
        SettingsInvalid: no such file, or no seed in it.
    """
    lines = [line.strip() for line in _text("nkey_file", file).splitlines()]
    seed = next((line for line in lines if line and not line.startswith("#")), "").encode()
    _use("nkey_file", file, seed, lambda keys: keys.public_key)
    return seed


def sign(file: Path, nonce: str) -> bytes:
    """Answer the server's challenge with a credentials file; base64.

    Raises:
        SettingsInvalid: no such file, or it is no credentials file.
    """
    _, seed = read_credentials(file)
    return base64.b64encode(_use("credentials_file", file, seed, lambda keys: keys.sign(nonce.encode())))


def tls_context(config: NatsConfig) -> ssl.SSLContext:
    """Whom we trust, and our own certificate.

    Raises:
        SettingsInvalid: a file is missing or holds something else.
    """
    for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
        if file := cast("Path | None", getattr(config, name)):
            _text(name, file)
    try:
        context = ssl.create_default_context(cafile=config.tls_ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsInvalid(
            f"nats.tls_ca_file: {config.tls_ca_file} holds no certificates: {_reason(error)}",
            hint="it is PEM: BEGIN CERTIFICATE",
        ) from error
    if config.tls_cert_file and config.tls_key_file:
        try:
            context.load_cert_chain(config.tls_cert_file, config.tls_key_file, password=_no_password)
        except (OSError, ValueError) as error:
            raise SettingsInvalid(
                f"nats.tls_cert_file and nats.tls_key_file: {config.tls_cert_file} and {config.tls_key_file} are no "
                f"certificate with its key: {_reason(error)}",
                hint="both are PEM, of one pair, and the key has no password",
            ) from error
    return context


def _split(url: str) -> SplitResult:
    """A URL; messages do not show it, for there may be a password in it."""
    hint = "write nats://host:4222 or tls://host:4222, several with commas between"
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        port = parts.port
    except ValueError as error:
        raise SettingsInvalid("nats.url: its host or port is none", hint=hint) from error
    if parts.scheme not in _SCHEMES:
        raise SettingsInvalid(f"nats.url: '{parts.scheme}://' is not spoken here", hint=hint)
    if not parts.hostname or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsInvalid("nats.url: it is more or less than a host and a port", hint=hint)
    if parts.password is not None and not parts.username:
        raise SettingsInvalid("nats.url: a password without a user", hint=hint)
    return parts


def _plain(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port or _PORT}"


def _text(name: str, file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsInvalid(
            f"nats.{name}: {file} cannot be read: {reason}", hint="check the path, and the service's rights to it"
        ) from error


def _use(name: str, file: Path, seed: bytes, what: Callable[[KeyPair], bytes]) -> bytes:
    import nkeys  # every command reads the settings; few of them sign

    try:
        keys = cast(KeyPair, nkeys.from_seed(bytearray(seed)))
        try:
            if not keys.public_key.startswith(b"U"):
                raise ValueError("of another kind")
            return what(keys)
        finally:
            keys.wipe()
    except Exception as error:  # the library raises whatever its decoders do
        raise SettingsInvalid(
            f"nats.{name}: the seed in {file} is no user's", hint="a user's seed begins with SU"
        ) from error


def _no_password() -> str:
    """Instead of OpenSSL's question at the terminal."""
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
