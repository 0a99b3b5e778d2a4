"""Configuration: meta.toml, META_ environment variables, and the addresses of a running embedded stack.

Looked up in this order: `--config FILE`, `META_CONFIG`, `./meta.toml`, `.meta/meta.toml` (written by `meta up`).
An environment variable wins over the file: `META_TEMPORAL__ADDRESS=host:7233`, `META_ENGINES__KFP__TOKEN=...`,
`META_USE_CASES__MODEL_EVALUATION=kfp`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from meta.nats_login import check_login
from workers.engines.times import check_times
from workers.settings import EngineSettings, NamedStore, StoreSettings, check_stores
from workflows.errors import SettingsInvalid
from workflows.outcome import EngineKind
from workflows.spec.base import Label
from workflows.spec.subjects import covers, subject_fault
from workflows.suggest import did_you_mean
from workflows.use_cases import UseCases

DEFAULT_GRPC = "127.0.0.1:7400"
REQUEST_ID = "{request_id}"
"""Stands for the request's id in `triggers.bridge.status`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TemporalConfig(_Section):
    """Where Temporal is. `ui_url` is the base of its Web UI, for links."""

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = ""


class NatsConfig(_Section):
    """Where NATS is, and who we are there; an empty URL switches events off.

    Attributes:
        url: `nats://host:4222`, `tls://host:4222`; several with commas between.
        token: or `user` with `password`, or one of the files.
        credentials_file: of a user: JWT and seed, as `nsc generate creds` writes it.
        nkey_file: holds the seed of an NKey.
        tls_ca_file: certificates to trust in place of the system's.
        tls_cert_file: with `tls_key_file`: our own certificate.
        tls_hostname: name in the server's certificate, when it is not the URL's.
        max_event: largest message that starts a run, in bytes; a larger one is put aside unread.
        stream_max_age: seconds that messages stay in streams that the service makes; 0: for ever.
        stream_replicas: copies of the streams that the service makes, in a cluster.
    """

    url: str = ""
    token: SecretStr | None = None
    user: str = ""
    password: SecretStr | None = None
    credentials_file: Path | None = None
    nkey_file: Path | None = None
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_hostname: str = ""
    max_event: int = Field(default=1 << 20, ge=1024, le=64 << 20)
    stream_max_age: float = Field(default=7 * 24 * 3600.0, ge=0)
    stream_replicas: int = Field(default=1, ge=1, le=5)


class BridgedPipeline(_Section):
    """A name that clients of the bridge use, and the meta-workflow that it starts.

    Attributes:
        workflow: a published name.
        engine: what statuses say in `engine`; empty: the engine of the step that they tell of.
        inputs: input to parameter, where their names differ; `source-url` is input `source_url` by itself.
    """

    workflow: str = Field(min_length=1)
    engine: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)


def _by_name_alone(value: object) -> object:
    return {"workflow": value} if isinstance(value, str) else value


class BridgeConfig(_Section):
    """Serves clients of a pipeline bridge on core NATS; see docs/bridge.md.

    Attributes:
        subject: where requests come; no wildcards.
        status: where statuses go; `{request_id}` is put in.
        queue: queue group, which several services share; also the name of the durable consumer.
        stream: keeps requests while no service runs; it is made when it is missing and no stream has the subject.
        catch_up: False: what is sent while no service runs is lost, as core NATS does.
        grace: seconds in which a request is for whoever it was sent to; then whoever reads the stream takes it.
        max_age: seconds after which a request that was found on the stream is refused.
        max_kept: requests that the service's own stream holds; the oldest give way.
        max_held: requests that one service has in hand at a time; what comes beyond is refused, or left on the stream.
        pipelines: the catalogue: name to meta-workflow. A name alone stands for `{workflow = name}`.
    """

    subject: str = "ai.pipeline.trigger"
    status: str = "ai.pipeline.status.{request_id}"
    queue: str = Field(default="meta-bridge", pattern=r"^[A-Za-z0-9_-]{1,100}$")
    stream: str = Field(default="META_BRIDGE", pattern=r"^[A-Za-z0-9_-]{1,100}$")
    catch_up: bool = True
    grace: float = Field(default=30.0, ge=1, le=600)
    max_age: float = Field(default=24 * 3600.0, gt=0)
    max_kept: int = Field(default=100_000, ge=1)
    max_held: int = Field(default=1000, ge=1)
    pipelines: dict[str, Annotated[BridgedPipeline, BeforeValidator(_by_name_alone)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _subjects_are_some(self) -> Self:
        if fault := subject_fault(self.subject, wildcards=False):
            raise ValueError(f"subject: {fault}")
        if self.status.split(".").count(REQUEST_ID) != 1 or self.status.count("{") != 1:
            raise ValueError(f"status: {REQUEST_ID} stands in it once, as a part of its own between dots")
        if fault := subject_fault(self.status.replace(REQUEST_ID, "x"), wildcards=False):
            raise ValueError(f"status: {fault}")
        if covers(self.status.replace(REQUEST_ID, "*"), self.subject):
            raise ValueError("status: statuses would come back as requests; give them another subject")
        return self


class TriggersConfig(_Section):
    """Triggers that belong to no definition."""

    bridge: BridgeConfig | None = None


class DatabaseConfig(_Section):
    """The store. `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://user:password@host/name`."""

    url: str = "sqlite+aiosqlite:///.meta/store.db"


class GrpcConfig(_Section):
    """Where the service listens, and where clients find it."""

    address: str = DEFAULT_GRPC


class MetricsConfig(_Section):
    """Where each process answers Prometheus, as host:port; empty: nowhere. Metrics by OTLP go where traces go.

    Attributes:
        service: of the service.
        worker: of the worker.
        otlp: send them by OTLP as well.
        interval: seconds between two sendings, and between two looks at the store for its gauges.
    """

    service: str = ""
    worker: str = ""
    otlp: bool = False
    interval: float = Field(default=15.0, ge=1, le=600)

    def wanted(self, process: Literal["service", "worker"]) -> bool:
        """Whether a process's metrics go anywhere."""
        return self.otlp or bool(self.service if process == "service" else self.worker)


class LogsConfig(_Section):
    """How the processes write their logs: `text` for people, `json` for machines, one object a line."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class LineageConfig(_Section):
    """Where OpenLineage events go; an empty `url` switches them off.

    Attributes:
        url: of the receiver, as `http://marquez:5000`.
        endpoint: path under it.
        api_key: sent as a bearer token.
        namespace: of jobs.
    """

    url: str = ""
    endpoint: str = "api/v1/lineage"
    api_key: SecretStr | None = None
    namespace: str = "meta-workflows"


class TelemetryConfig(_Section):
    """Traces, metrics, logs and lineage; see docs/tracing.md.

    Attributes:
        otlp_endpoint: of a collector: `http://host:4317` for gRPC, `http://host:4318` for HTTP; https for TLS. Empty:
            nothing is exported, and `meta trace` shows what the store has.
        otlp_protocol: `grpc` or `http` (protobuf over HTTP).
        otlp_headers: sent with each export, for tokens.
        otlp_ca_file: certificates to trust in place of the system's.
        otlp_compression: `gzip` or `none`.
        service_name: resource attribute `service.name`.
        resource: further resource attributes.
        sampling: of traces that begin here, 0 to 1; one that comes with its cause is exported as that says.
        baggage: keys of the cause's W3C baggage that become span attributes.
        trace_url: page of a trace in the backend, with `{trace_id}`, for links.
    """

    otlp_endpoint: str = ""
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    otlp_headers: dict[str, SecretStr] = Field(default_factory=dict)
    otlp_ca_file: Path | None = None
    otlp_compression: Literal["gzip", "none"] = "gzip"
    service_name: str = "meta-workflows"
    resource: dict[str, str] = Field(default_factory=dict)
    sampling: float = Field(default=1.0, ge=0, le=1)
    baggage: list[str] = Field(default_factory=list)
    trace_url: str = ""
    metrics: MetricsConfig = MetricsConfig()
    logs: LogsConfig = LogsConfig()
    lineage: LineageConfig = LineageConfig()

    @field_validator("otlp_endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if value and not (scheme in ("http", "https") and rest):
            raise ValueError(f"{value!r} is no address: write http://host:4317, or https:// for TLS")
        return value


class WorkerConfig(_Section):
    """Sizes of a worker process. `shutdown_grace` is seconds."""

    wait_slots: int = Field(default=2000, ge=1)
    activity_slots: int = Field(default=100, ge=1)
    shutdown_grace: float = 10.0


def _with_hyphens(value: object) -> object:
    """A variable's name has no hyphens: `META_USE_CASES__MODEL_EVALUATION` wins over the file's `model-evaluation`."""
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, object]", value)
    spelled = {name: engine for name, engine in given.items() if "_" not in name}
    return {**spelled, **{name.replace("_", "-"): engine for name, engine in given.items() if "_" in name}}


class MetaConfig(BaseSettings):
    """All settings of the service, the worker and the command line."""

    model_config = SettingsConfigDict(
        env_prefix="META_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    temporal: TemporalConfig = TemporalConfig()
    nats: NatsConfig = NatsConfig()
    triggers: TriggersConfig = TriggersConfig()
    store: DatabaseConfig = DatabaseConfig()
    grpc: GrpcConfig = GrpcConfig()
    worker: WorkerConfig = WorkerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    objects: StoreSettings = Field(default=StoreSettings(), description="The S3 store that the engines share.")
    stores: dict[str, NamedStore] = Field(default_factory=dict, description="Further stores, by name.")
    engines: dict[str, EngineSettings] = Field(default_factory=dict)
    use_cases: Annotated[dict[Label, str], BeforeValidator(_with_hyphens)] = Field(
        default_factory=dict, description="Use case to the name of the engine that it goes to."
    )

    @model_validator(mode="after")
    def _stores_of_engines_exist(self) -> Self:
        check_stores(self.objects, self.stores, self.engines)
        return self

    @model_validator(mode="after")
    def _engines_of_use_cases_exist(self) -> Self:
        for use_case, engine in self.use_cases.items():
            if engine not in self.engines:
                variable = f"META_USE_CASES__{use_case.replace('-', '_').upper()}"
                where = variable if os.environ.get(variable) else f"[use_cases] {use_case}"
                hint = did_you_mean(engine, self.engines, what="engines") or "add it under [engines]"
                raise ValueError(f"{where}: no engine {engine!r} is configured; {hint}")
        return self

    @model_validator(mode="after")
    def _a_bridge_has_nats(self) -> Self:
        if self.triggers.bridge is not None and not self.nats.url:
            raise ValueError("[triggers.bridge] needs NATS: set url in [nats], as nats://host:4222")
        return self

    @property
    def routing(self) -> UseCases:
        """The table of use cases, as whoever starts runs needs it."""
        return UseCases(self.use_cases, {name: EngineKind(engine.kind) for name, engine in self.engines.items()})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content comes in as keyword arguments."""
        return env_settings, init_settings


def find_config(explicit: Path | None, data_dir: Path = Path(".meta")) -> Path | None:
    """The configuration file in force, or None when there is none.

    Raises:
        SettingsInvalid: a file that was named does not exist.
    """
    named = explicit or (Path(value) if (value := os.environ.get("META_CONFIG")) else None)
    if named is not None:
        if not named.is_file():
            raise SettingsInvalid(f"no configuration at {named}", hint="check --config, or the variable META_CONFIG")
        return named
    return next((p for p in (Path("meta.toml"), data_dir / "meta.toml") if p.is_file()), None)


def load_config(file: Path | None) -> MetaConfig:
    """Read a configuration.

    Args:
        file: None takes defaults and the environment alone.

    Raises:
        SettingsInvalid: with every key that is wrong, by its place in the file; or time-outs of an engine, or ways to
            log in at NATS, that do not go together.
    """
    values: dict[str, object] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsInvalid(
                f"{file}: {error}", hint="meta.toml is TOML; docs/configuration.md shows one"
            ) from error
    try:
        config = MetaConfig(**values)  # pyright: ignore[reportArgumentType] -- pydantic checks the values
    except SettingsError as error:  # of a variable that is no JSON; its own words name the section alone
        raise SettingsInvalid(
            f"environment: {error}",
            hint="a META_ variable that holds a table is JSON, as in "
            'META_TRIGGERS__BRIDGE__PIPELINES=\'{"name": "workflow"}\'',
        ) from error
    except ValidationError as error:
        lines = [
            ": ".join(
                [
                    _source(file, e["loc"]),
                    *filter(None, [".".join(map(str, e["loc"]))]),
                    e["msg"].removeprefix("Value error, "),
                ]
            )
            for e in error.errors()
        ]
        raise SettingsInvalid("\n".join(lines), hint="docs/configuration.md lists every key") from error
    check_login(config.nats)
    for name, engine in config.engines.items():
        check_times(name, engine)
    return config


def _source(file: Path | None, place: tuple[int | str, ...]) -> str:
    """Where a wrong value comes from: a variable wins over the file."""
    names = [str(part) for part in place]
    for length in range(len(names), 0, -1):
        variable = "META_" + "__".join(names[:length]).upper()
        if os.environ.get(variable):
            return f"variable {variable}"
    return str(file or "environment")
