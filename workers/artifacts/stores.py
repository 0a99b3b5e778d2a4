"""The stores of an installation: which one a URI is in, and an open client of it.

The client is obstore's (the `object_store` crate, typed and asynchronous), for S3, Google, Azure and files alike.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from workers.artifacts.places import ObjectPlace, parse_uri
from workers.settings import COMMON_STORE, NamedStore, StoreSettings, StoreType, is_under
from workflows.errors import ArtifactError, ArtifactStoreUnavailable

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, RetryConfig, S3Config

Store: TypeAlias = S3Store | GCSStore | AzureStore | LocalStore

_BUCKETS = 64
_CLIENT: ClientConfig = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=2)}
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
_COMMON_TYPES = (StoreType.S3, StoreType.FILE)


class Stores:
    """The common store and those with a name.

    Args:
        common: `[objects]`: every S3 bucket, and every file, that no other store serves.
        named: `[stores.NAME]`.
    """

    def __init__(self, common: StoreSettings, named: Mapping[str, NamedStore]) -> None:
        self._settings: dict[str, StoreSettings] = {COMMON_STORE: common, **named}
        self._served = sorted(
            (
                (_plain(beginning).rstrip("/") + "/", name)
                for name, store in named.items()
                for beginning in store.serves
            ),
            key=lambda served: -len(served[0]),
        )
        self._open: OrderedDict[tuple[str, str], Store] = OrderedDict()

    def name_of(self, place: ObjectPlace) -> str:
        """The store that a place is in: the one that serves the longest beginning of it, else the common one.

        Raises:
            ArtifactError: no store serves it.
        """
        uri = _plain(place.uri)
        for beginning, name in self._served:
            if is_under(uri, beginning):
                return name
        if place.scheme in _COMMON_TYPES:
            return COMMON_STORE
        raise ArtifactError(
            f"no store of the configuration serves {place.uri}",
            hint=f'add [stores.NAME] to meta.toml, with type = "{place.scheme.value}" and what it serves',
        )

    def settings(self, name: str) -> StoreSettings:
        return self._settings[name]

    def settings_of(self, uri: str) -> StoreSettings:
        """Settings of the store that a URI is in.

        Raises:
            ArtifactError: no store serves it.
        """
        return self._settings[self.name_of(parse_uri(uri))]

    def open(self, place: ObjectPlace) -> Store:
        """A client for the bucket of a place; paths in it are keys. Kept for the next call.

        Raises:
            ArtifactError: no store serves it, or its settings are not enough.
        """
        name = self.name_of(place)
        key = (name, f"{place.scheme.value}:{place.bucket}")
        store = self._open.get(key)
        if store is None:
            if place.scheme is StoreType.FILE and not Path(place.bucket).is_dir():
                raise ArtifactError(
                    f"{place.uri}: there is no folder {place.bucket}", hint="is it mounted where workers run?"
                )
            with self.errors(place):
                store = _connect(place, self._settings[name])
            self._open[key] = store
            if len(self._open) > _BUCKETS:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return store

    @contextmanager
    def errors(self, place: ObjectPlace) -> Generator[None]:
        """Turn obstore's errors into ours. FileNotFoundError passes: whether that is one, the caller knows.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
            ArtifactError: it refuses, or the object has changed since it was looked at.
        """
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ArtifactError(
                f"the object store refuses access to {place.uri}: {_first(error)}",
                hint=f"check access_key and secret_key of {self._section(place)} in meta.toml, and the bucket's policy",
            ) from error
        except PreconditionError as error:
            raise ArtifactError(
                f"{place.uri} was overwritten while it was read", hint="something else writes there; run its step again"
            ) from error
        except (InvalidPathError, NotSupportedError, ValueError) as error:
            raise ArtifactError(f"{place.uri} cannot be used: {_first(error)}", hint="correct the address") from error
        except BaseError as error:
            endpoint = self._settings[self.name_of(place)].endpoint or place.scheme.value
            raise ArtifactStoreUnavailable(
                f"the object store at {endpoint} could not be asked for {place.uri}: {_first(error)}",
                hint=f"check endpoint of {self._section(place)} in meta.toml, and that the store is up",
            ) from error

    def _section(self, place: ObjectPlace) -> str:
        name = self.name_of(place)
        return f"[{name}]" if name == COMMON_STORE else f"[stores.{name}]"


def _connect(place: ObjectPlace, settings: StoreSettings) -> Store:
    match place.scheme:
        case StoreType.FILE:
            return LocalStore(place.bucket)
        case StoreType.GCS:
            google: GCSConfig = {}
            if isinstance(settings, NamedStore) and settings.credentials_file is not None:
                google["service_account"] = str(settings.credentials_file)
            return GCSStore(place.bucket, config=google, client_options=_CLIENT, retry_config=_RETRY)
        case StoreType.AZURE:
            return _azure(place.bucket, settings)
        case StoreType.S3:
            return _s3(place.bucket, settings)


def _azure(container: str, settings: StoreSettings) -> AzureStore:
    config: AzureConfig = {}
    client: ClientConfig = {**_CLIENT}
    if isinstance(settings, NamedStore) and settings.account:
        config["account_name"] = settings.account
    if settings.secret_key is not None:
        config["account_key"] = settings.secret_key.get_secret_value()
    if settings.endpoint is not None:
        config["endpoint"] = settings.endpoint
        client["allow_http"] = settings.endpoint.startswith("http://")
    return AzureStore(container, config=config, client_options=client, retry_config=_RETRY)


def _s3(bucket: str, settings: StoreSettings) -> S3Store:
    config: S3Config = {"bucket": bucket, "region": settings.region}
    client: ClientConfig = {**_CLIENT}
    if settings.endpoint is not None:
        config["endpoint"] = settings.endpoint
        config["virtual_hosted_style_request"] = False
        client["allow_http"] = settings.endpoint.startswith("http://")
    if settings.access_key is not None and settings.secret_key is not None:
        config["access_key_id"] = settings.access_key.get_secret_value()
        config["secret_access_key"] = settings.secret_key.get_secret_value()
    return S3Store(config=config, client_options=client, retry_config=_RETRY)


def _plain(uri: str) -> str:
    """A URI as beginnings are compared: one scheme for S3, files without escapes."""
    if uri.startswith("minio://"):
        return "s3://" + uri.removeprefix("minio://")
    return unquote(uri) if uri.startswith("file://") else uri


def _first(error: BaseError | ValueError) -> str:
    """The first line: obstore adds pages of its own internals."""
    return str(error).partition("\n")[0]
