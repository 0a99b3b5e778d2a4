"""Settings of what workers reach: engines and object stores. `meta.config` reads them from meta.toml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from workflows.outcome import EngineKind


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Settings):
    """An S3-compatible object store, which all engines of the installation can read.

    Attributes:
        endpoint: URL as workers reach it; None is AWS itself.
        access_key: with `secret_key`; both None: the environment's own credentials (AWS_*, web identity).
        engine_endpoint: `host:port` as engine pods reach it, when that differs from what workers use.
        staging: where copies of artifacts from other stores go, as `s3://bucket/prefix`; empty: none are made here.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    engine_endpoint: str | None = None
    staging: str = ""


class StoreType(StrEnum):
    """What a store speaks; its URIs start with the scheme of the same line in `SCHEMES`."""

    S3 = "s3"
    FILE = "file"
    GCS = "gcs"
    AZURE = "azure"


SCHEMES = {
    StoreType.S3: ("s3://", "minio://"),
    StoreType.FILE: ("file://",),
    StoreType.GCS: ("gs://",),
    StoreType.AZURE: ("az://",),
}


class NamedStore(StoreSettings):
    """A further store, `[stores.NAME]`, beside the common one.

    Attributes:
        type: what it speaks.
        serves: beginnings of the URIs that are in it, as `s3://lake/` or `s3://raw/images/`; the longest one wins.
        secret_name: Kubernetes secret with `accesskey` and `secretkey` that Argo's pods read it with; empty: their own
            rights (S3 only).
        account: of Azure; its key is `secret_key`.
        credentials_file: Google's JSON key of a service account; None: the environment's own credentials.
    """

    type: StoreType = StoreType.S3
    serves: tuple[str, ...] = Field(min_length=1)
    secret_name: str = ""
    account: str = ""
    credentials_file: Path | None = None

    @model_validator(mode="after")
    def _served_as_its_type(self) -> Self:
        for beginning in (*self.serves, *([self.staging] if self.staging else [])):
            if not beginning.startswith(SCHEMES[self.type]):
                raise ValueError(f"{beginning!r} is no place in a store of type {self.type.value}")
        if self.staging and not any(is_under(self.staging, beginning) for beginning in self.serves):
            raise ValueError(f"staging {self.staging!r} is not among what the store serves")
        return self


def is_under(uri: str, beginning: str) -> bool:
    """Whether a URI is a place, or under it: `s3://lake/x` is under `s3://lake`, `s3://lakes/x` is not."""
    return f"{uri.rstrip('/')}/".startswith(f"{beginning.rstrip('/')}/")


COMMON_STORE = "objects"
"""Name of the store that `[objects]` describes, among those that an engine can read."""


KFP_TOKEN_ENVIRONMENT = "KF_PIPELINES_SA_TOKEN_PATH"
"""Names the file of KFP's projected ServiceAccount token; KFP's own SDK reads the same variable."""

KFP_TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where that file is when the variable does not say (kfp/client/__init__.py, KF_PIPELINES_SA_TOKEN_PATH)."""


class HttpSettings(Settings):
    """How to reach one engine's API. All times are seconds. Files are read anew when they change."""

    url: str
    ui_url: str = Field(default="", description="Base of the engine's own pages; links are built on it.")
    token: SecretStr | None = None
    token_file: Path | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Sent with every request.")
    verify_tls: bool = True
    ca_file: Path | None = None
    tls_server_name: str = Field(default="", description="Name in the server's certificate, if not the URL's host.")
    cert_file: Path | None = Field(default=None, description="Client certificate, PEM.")
    key_file: Path | None = Field(default=None, description="Its key, when that is not in cert_file.")
    service_account: str = Field(default="", description="Of the pods of runs that name none.")
    labels: dict[str, str] = Field(default_factory=dict, description="Put on every run; a manifest's own win.")
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

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        return self

    @property
    def bearer_file(self) -> Path | None:
        """The file that holds the bearer token, if one does."""
        return self.token_file

    stores: tuple[str, ...] = Field(
        default=(), description="Names of the stores that its pods can read; none: the common one, `objects`."
    )
    copy_into: str = Field(
        default="", description="The store that artifacts from elsewhere are copied into; empty: the first of `stores`."
    )

    @property
    def readable_stores(self) -> tuple[str, ...]:
        return self.stores or (COMMON_STORE,)

    @property
    def copies_store(self) -> str:
        return self.copy_into or self.readable_stores[0]


class ArgoSettings(HttpSettings):
    kind: Literal[EngineKind.ARGO] = EngineKind.ARGO
    namespace: str = "argo"
    annotations: dict[str, str] = Field(default_factory=dict, description="Put on every run; a manifest's own win.")
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
    cookies: SecretStr | None = Field(default=None, description="Cookie header, as a login page's proxy wants it.")
    service_account_token: bool = Field(
        default=False, description="Use the projected ServiceAccount token of KFP, whose file is read anew."
    )
    poll: float = Field(default=1.0, description="Between two lists of what finished, while ends are likely.")
    poll_slowest: float = Field(default=10.0, description="Between two such lists, while none is near.")
    resync: float = Field(default=60.0, description="Between two lists of all awaited runs, a hundred a request.")

    @property
    def bearer_file(self) -> Path | None:
        """The token file that is named, else the projected ServiceAccount token's if that is asked for."""
        if self.token_file is None and self.service_account_token:
            return Path(os.environ.get(KFP_TOKEN_ENVIRONMENT) or KFP_TOKEN_FILE)
        return self.token_file


EngineSettings = Annotated[ArgoSettings | KfpSettings, Field(discriminator="kind")]


def check_stores(common: StoreSettings, stores: Mapping[str, NamedStore], engines: Mapping[str, HttpSettings]) -> None:
    """Make sure that the names of stores fit together.

    Raises:
        ValueError: a store is called as the common one, or an engine names one that there is not.
    """
    if COMMON_STORE in stores:
        raise ValueError(f"[stores.{COMMON_STORE}]: this name is the common store's; its section is [{COMMON_STORE}]")
    for name, store in stores.items():
        if common.staging and any(is_under(common.staging, beginning) for beginning in store.serves):
            raise ValueError(f"staging of [{COMMON_STORE}] is in the store '{name}'")
    known = (COMMON_STORE, *stores)
    for name, engine in engines.items():
        for store in (*engine.readable_stores, engine.copies_store):
            if store not in known:
                raise ValueError(f"[engines.{name}]: there is no store '{store}' (there are: {', '.join(known)})")
        if engine.copies_store not in engine.readable_stores:
            raise ValueError(f"[engines.{name}]: copy_into is '{engine.copies_store}', which is not among its stores")
