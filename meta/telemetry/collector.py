"""How the collector of traces and metrics is reached: what both of OpenTelemetry's kinds of exporters are told."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import grpc
import requests
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression

from meta.config import TelemetryConfig
from workflows.errors import SettingsInvalid

_TRACES = "/v1/traces"


def http_url(telemetry: TelemetryConfig, path: str) -> str:
    """Address of one of a collector's paths; the configured one may be its address alone, or end with that of traces.

    Args:
        telemetry: with an endpoint.
        path: as `/v1/metrics` (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request).
    """
    return telemetry.otlp_endpoint.rstrip("/").removesuffix(_TRACES) + path


def headers_of(telemetry: TelemetryConfig) -> dict[str, str]:
    """Sent with each request; gRPC insists on lower case."""
    return {name.lower(): value.get_secret_value() for name, value in telemetry.otlp_headers.items()}


def certificates_of(telemetry: TelemetryConfig) -> bytes | None:
    """What is trusted in place of the system's certificates; None: those.

    Raises:
        SettingsInvalid: the file cannot be read.
    """
    file = telemetry.otlp_ca_file
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        raise SettingsInvalid(
            f"telemetry.otlp_ca_file: {error}", hint="name a file of certificates in PEM, or leave it out"
        ) from error


def credentials_of(telemetry: TelemetryConfig) -> grpc.ChannelCredentials | None:
    """For TLS; None where the endpoint is `http://`.

    Raises:
        SettingsInvalid: as `certificates_of`.
    """
    if telemetry.otlp_endpoint.startswith("http://"):
        return None
    return grpc.ssl_channel_credentials(root_certificates=certificates_of(telemetry))


def grpc_compression(telemetry: TelemetryConfig) -> grpc.Compression:
    return grpc.Compression.Gzip if telemetry.otlp_compression == "gzip" else grpc.Compression.NoCompression


def http_compression(telemetry: TelemetryConfig) -> HttpCompression:
    return HttpCompression.Gzip if telemetry.otlp_compression == "gzip" else HttpCompression.NoCompression


class TrustingSession(requests.Session):
    """Trusts the file that it was told to trust; in requests the variable REQUESTS_CA_BUNDLE wins (requests 3829)."""

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: MutableMapping[str, str] | None,
        stream: bool | None,
        verify: bool | str | None,
        cert: str | tuple[str, str] | None,
    ) -> Any:
        settings = super().merge_environment_settings(url, proxies or {}, stream, verify, cert)
        return {**settings, "verify": self.verify} if isinstance(self.verify, str) else dict(settings)
