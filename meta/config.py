"""Configuration: meta.toml, META_ environment variables, and the addresses of a running embedded stack.

Looked up in this order: `--config FILE`, `META_CONFIG`, `./meta.toml`, `.meta/meta.toml` (written by `meta up`).
An environment variable wins over the file: `META_TEMPORAL__ADDRESS=host:7233`, `META_ENGINES__KFP__TOKEN=...`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from workers.engines.times import check_times
from workers.settings import EngineSettings, NamedStore, StoreSettings, check_stores
from workflows.errors import SettingsInvalid

DEFAULT_GRPC = "127.0.0.1:7400"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TemporalConfig(_Section):
    """Where Temporal is. `ui_url` is the base of its Web UI, for links."""

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = ""


class NatsConfig(_Section):
    """Where NATS is; an empty URL switches events off."""

    url: str = ""
    token: SecretStr | None = None


class DatabaseConfig(_Section):
    """The store. `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://user:password@host/name`."""

    url: str = "sqlite+aiosqlite:///.meta/store.db"


class GrpcConfig(_Section):
    """Where the service listens, and where clients find it."""

    address: str = DEFAULT_GRPC


class WorkerConfig(_Section):
    """Sizes of a worker process. `shutdown_grace` is seconds."""

    wait_slots: int = Field(default=2000, ge=1)
    activity_slots: int = Field(default=100, ge=1)
    shutdown_grace: float = 10.0


class MetaConfig(BaseSettings):
    """All settings of the service, the worker and the command line."""

    model_config = SettingsConfigDict(
        env_prefix="META_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    temporal: TemporalConfig = TemporalConfig()
    nats: NatsConfig = NatsConfig()
    store: DatabaseConfig = DatabaseConfig()
    grpc: GrpcConfig = GrpcConfig()
    worker: WorkerConfig = WorkerConfig()
    objects: StoreSettings = Field(default=StoreSettings(), description="The S3 store that the engines share.")
    stores: dict[str, NamedStore] = Field(default_factory=dict, description="Further stores, by name.")
    engines: dict[str, EngineSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _stores_of_engines_exist(self) -> Self:
        check_stores(self.objects, self.stores, self.engines)
        return self

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
        SettingsInvalid: with every key that is wrong, by its place in the file; or time-outs of an engine that do not
            go together.
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
    except ValidationError as error:
        lines = [f"{file or 'environment'}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsInvalid("\n".join(lines), hint="docs/configuration.md lists every key") from error
    for name, engine in config.engines.items():
        check_times(name, engine)
    return config
