"""NATS accounts of a test's own: keys, and the JWTs that an operator signs, without the operator's tool."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nkeys

_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
_ACCOUNT = {"imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


@dataclass(frozen=True, slots=True)
class Key:
    """An Ed25519 key as NATS writes it."""

    seed: bytes

    @classmethod
    def make(cls, prefix: int = nkeys.PREFIX_BYTE_USER) -> Key:
        return cls(bytes(cast("Any", nkeys.encode_seed(os.urandom(32), prefix))))

    @property
    def public(self) -> str:
        return cast("Any", nkeys.from_seed(bytearray(self.seed))).public_key.decode()

    def sign(self, text: str) -> bytes:
        return cast("Any", nkeys.from_seed(bytearray(self.seed))).sign(text.encode())

    def write(self, file: Path) -> Path:
        file.write_bytes(b"# of a test\n" + self.seed + b"\n")
        return file


class Operator:
    """Signs accounts, whose users log in with credentials files."""

    def __init__(self) -> None:
        self._key = Key.make(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = Key.make(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = Key.make(nkeys.PREFIX_BYTE_ACCOUNT)

    @property
    def settings(self) -> str:
        """Of a server that takes this operator's users."""
        limits = {**_UNLIMITED, **_ACCOUNT}
        operator = _jwt(self._key, self._key.public, "operator", {"type": "operator"})
        account = _jwt(self._key, self._account.public, "app", {"type": "account", "limits": {**limits, **_JETSTREAM}})
        system = _jwt(self._key, self._system.public, "sys", {"type": "account", "limits": limits})
        return (
            f"operator: {operator}\nsystem_account: {self._system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self._account.public}: {account}, {self._system.public}: {system} }}\n"
        )

    def credentials(self, file: Path, lifetime_s: float | None = None) -> Path:
        """Write a new user's credentials file; the user's login ends after so many seconds."""
        user = Key.make()
        token = _jwt(self._account, user.public, "meta", {"type": "user", **_UNLIMITED}, lifetime_s)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return file


def _jwt(issuer: Key, subject: str, name: str, claims: dict[str, Any], lifetime_s: float | None = None) -> str:
    """A JWT as https://github.com/nats-io/jwt makes it (version 2)."""
    now = time.time()
    body: dict[str, Any] = {
        "iat": int(now), "iss": issuer.public, "name": name, "sub": subject, "nats": {**claims, "version": 2}
    }  # fmt: skip
    if lifetime_s is not None:
        body["exp"] = int(now + lifetime_s)
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
    return f"{text}.{_encode(issuer.sign(text))}"


def _part(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
