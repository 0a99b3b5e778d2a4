"""Artifacts as objects: s3://bucket/key to a file or folder of a run, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from meta.sandbox.kfp.settings import KfpSandboxSettings

_PART_BYTES = 8 * 1024 * 1024


class ObjectError(Exception):
    """An object that could not be read or written; the message says which and why."""


class Objects:
    """Transfers between the S3 server and local folders. Stores are per bucket and kept."""

    def __init__(self, settings: KfpSandboxSettings) -> None:
        self._settings = settings
        self._stores: dict[str, S3Store] = {}

    @property
    def session_info(self) -> dict[str, object]:
        """How a client reaches the objects, as KFP writes it into `store_session_info`."""
        return {
            "Provider": "s3",
            "Params": {
                "endpoint": self._settings.s3_endpoint,
                "region": "us-east-1",
                "forcePathStyle": "true",
                "fromEnv": "true",
            },
        }

    def _store(self, bucket: str) -> S3Store:
        if bucket not in self._stores:
            self._stores[bucket] = S3Store(
                bucket,
                endpoint=self._settings.s3_endpoint,
                region="us-east-1",
                access_key_id=self._settings.s3_access_key,
                secret_access_key=self._settings.s3_secret_key,
                virtual_hosted_style_request=False,
                client_options={"allow_http": True, "timeout": "60s"},
                retry_config={"max_retries": 4},
            )
        return self._stores[bucket]

    async def download(self, uri: str, mount: Path) -> None:
        """Bring an object, or all objects under it as a folder, to `mount/bucket/key`.

        Raises:
            ObjectError: there is nothing at the URI, or the store cannot be read.
        """
        bucket, key = split(uri)
        store = self._store(bucket)
        target = mount / bucket / key
        try:
            try:
                await _fetch(store, key, target)
            except FileNotFoundError:
                keys = [str(meta["path"]) async for page in obstore.list(store, prefix=f"{key}/") for meta in page]
                if not keys:
                    raise
                for one in keys:
                    await _fetch(store, one, mount / bucket / one)
        except FileNotFoundError as error:
            raise ObjectError(f"there is no object at {uri}") from error
        except (BaseError, OSError) as error:
            raise ObjectError(f"{uri} could not be read: {error}") from error

    async def upload(self, uri: str, mount: Path) -> None:
        """Store the file or folder at `mount/bucket/key` under its URI.

        Raises:
            ObjectError: the store cannot be written.
        """
        bucket, key = split(uri)
        store = self._store(bucket)
        source = mount / bucket / key
        files = [source] if source.is_file() else [path for path in sorted(source.rglob("*")) if path.is_file()]
        try:
            for file in files:
                await obstore.put_async(store, file.relative_to(mount / bucket).as_posix(), file)
        except (BaseError, OSError) as error:
            raise ObjectError(f"{uri} could not be written: {error}") from error


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI.

    Raises:
        ObjectError: it is no S3 URI.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket or not key or ".." in key.split("/"):
        raise ObjectError(f'"{uri}" is no URI of an S3 object; the sandbox reads s3://bucket/key only')
    return bucket, key


async def _fetch(store: S3Store, key: str, target: Path) -> None:
    """Stream one object to a file; the file appears when it is whole."""
    answer = await obstore.get_async(store, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    chunks: AsyncIterator[bytes] = answer.stream(min_chunk_size=_PART_BYTES)
    with partial.open("wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
    partial.rename(target)
