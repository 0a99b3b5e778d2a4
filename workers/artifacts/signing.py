"""Signatures of S3 requests: AWS Signature Version 4, in headers.

Source: docs.aws.amazon.com, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
obstore signs its own requests; this is for the multipart calls that it has no face for.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from workers.settings import StoreSettings

UNSIGNED = "UNSIGNED-PAYLOAD"
"""Stands for the body's digest: bodies are protected by Content-MD5, and by TLS where there is any."""


@dataclass(frozen=True, slots=True)
class Keys:
    """A pair of keys; `token` comes with temporary ones."""

    access: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def keys_of(settings: StoreSettings) -> Keys | None:
    """The settings' keys, else those of the environment (AWS_ACCESS_KEY_ID, ...); None when there are only others."""
    if settings.access_key is not None and settings.secret_key is not None:
        return Keys(settings.access_key.get_secret_value(), settings.secret_key.get_secret_value())
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Keys(access, secret, os.environ.get("AWS_SESSION_TOKEN", ""))
    return None


@dataclass(frozen=True, slots=True)
class Request:
    """What is signed: `host` as the Host header has it, `path` quoted, `query` unquoted."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]


def sign(request: Request, keys: Keys, region: str, now: datetime) -> dict[str, str]:
    """Headers that sign a request.

    Args:
        request: without its body.
        keys: whose request it is.
        region: of the bucket.
        now: with a time zone; servers bear 15 minutes of difference.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": request.host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": stamp}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = [request.method, request.path, query_string(request.query)]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers)]
    lines += ["", names, UNSIGNED]
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for word in scope.split("/"):
        key = _hmac(key, word)
    signature = _hmac(key, text).hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def query_string(query: Mapping[str, str]) -> str:
    """In the order and the quoting that signatures ask for."""
    return "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
