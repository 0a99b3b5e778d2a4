"""Settings of what workers reach: engines and object stores. `meta.config` reads them from meta.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from workflows.outcome import EngineKind


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Settings):
    """An S3-compatible object store, which all engines of the installation can read.

    Attributes:
        endpoint: URL as workers reach it; None is AWS itself.
        access_key: with `secret_key`; both None: the environment's own credentials (AWS_*, web identity).
        engine_endpoint: `host:port` as engine pods reach it, when that differs from what workers use.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    engine_endpoint: str | None = None


class HttpSettings(Settings):
    """How to reach one engine's API. All times are seconds."""

    url: str
    ui_url: str = Field(default="", description="Base of the engine's own pages; links are built on it.")
    token: SecretStr | None = None
    token_file: Path | None = None
    verify_tls: bool = True
    ca_file: Path | None = None
    connect_timeout: float = 5.0
    request_timeout: float = 10.0
    settle_delay: float = Field(
        default=12.0, description="Before looking again after an ambiguous create; must exceed request_timeout."
    )
    max_concurrent_runs: int | None = Field(
        default=None, ge=1, description="Runs under way at once, over all workers; None: no limit."
    )
    submit_rate: float | None = Field(
        default=None, gt=0, description="Runs submitted per second, over all workers; None: no limit."
    )


class ArgoSettings(HttpSettings):
    kind: Literal[EngineKind.ARGO] = EngineKind.ARGO
    namespace: str = "argo"
    service_account: str = ""
    watch_timeout: float = Field(
        default=35.0, description="Read time-out of the watch stream; above the 15 s keepalive."
    )
    resync: float = Field(default=60.0, description="Between two lists of our own workflows, as a net under the watch.")
    secret_name: str = Field(
        default="",
        description="Kubernetes secret with S3 credentials for artifacts passed in; empty: the repository's.",
    )


class KfpSettings(HttpSettings):
    kind: Literal[EngineKind.KFP] = EngineKind.KFP
    namespace: str = ""
    metadata_address: str = Field(
        default="", description="host:port of ML Metadata's gRPC (servers up to 2.x); empty: 3.x REST."
    )
    pipeline_root: str = ""
    service_account: str = ""
    poll: float = Field(default=1.0, description="Between two lists of what finished, while ends are likely.")
    poll_slowest: float = Field(default=10.0, description="Between two such lists, while none is near.")
    resync: float = Field(default=60.0, description="Between two lists of all awaited runs, a hundred a request.")


EngineSettings = Annotated[ArgoSettings | KfpSettings, Field(discriminator="kind")]
