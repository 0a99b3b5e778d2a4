"""Artifacts between a pod's folder and the S3 store."""

from __future__ import annotations

import shutil
import tarfile
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import obstore
from hera.workflows import models as m
from obstore.exceptions import BaseError
from obstore.store import S3Store

from meta.sandbox.argo.pods.archive import is_tarball, pack, place, unpack
from meta.sandbox.argo.state.status import JsonObject

_CHUNK = 5 * 1024 * 1024


class ArtifactError(Exception):
    """An artifact cannot be loaded or saved; the message goes into the node's status."""


class ArtifactNotFoundError(ArtifactError):
    """There is nothing at the artifact's place."""


@dataclass(frozen=True, slots=True)
class ArtifactRepository:
    """The default S3 store, and the credentials for every store that a manifest names.

    Attributes:
        endpoint: URL with scheme, as `http://127.0.0.1:8333`.
    """

    endpoint: str
    bucket: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    @property
    def secure(self) -> bool:
        return urlsplit(self.endpoint).scheme == "https"

    def status(self) -> JsonObject:
        """`status.artifactRepositoryRef`: host and port without the scheme, as Argo writes an endpoint."""
        s3: JsonObject = {"endpoint": urlsplit(self.endpoint).netloc, "bucket": self.bucket}
        if not self.secure:
            s3["insecure"] = True
        s3["keyFormat"] = "{{workflow.name}}/{{pod.name}}"
        return {"default": True, "artifactRepository": {"s3": s3}}

    def store(self, s3: m.S3Artifact) -> S3Store:
        endpoint = self.endpoint
        if s3.endpoint:
            endpoint = f"{'http' if s3.insecure else 'https'}://{s3.endpoint}"
        return S3Store(
            s3.bucket or self.bucket,
            endpoint=endpoint,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            region=s3.region or self.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "60s"},
            retry_config={"max_retries": 3},
        )

    async def load(self, artifact: m.Artifact, target: Path) -> None:
        """Bring an input artifact to its path, opened where it is a tarball and not said to be none.

        Raises:
            ArtifactNotFoundError: no such object, and no objects below that key.
            ArtifactError: the store cannot be read.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".load-") as folder:
            temporary = Path(folder) / "artifact"
            if artifact.raw is not None:
                temporary.write_text(artifact.raw.data, encoding="utf-8")
            elif artifact.s3 is not None:
                await self._download(artifact.s3, temporary)
            else:
                raise ArtifactNotFoundError(f"required artifact '{artifact.name}' not supplied")
            archive = artifact.archive
            plain = archive is not None and archive.none is not None
            if not plain and (is_tarball(temporary) or (archive is not None and archive.tar is not None)):
                try:
                    unpack(temporary, target)
                except (tarfile.TarError, zlib.error, EOFError) as error:
                    raise ArtifactError(f"cannot be opened as a gzip'd tar: {error}") from error
            else:
                place(temporary, target)
        if artifact.mode is not None:
            target.chmod(artifact.mode)

    async def _download(self, s3: m.S3Artifact, target: Path) -> None:
        key = s3.key or ""
        store = self.store(s3)
        try:
            await _fetch(store, key, target)
            return
        except FileNotFoundError:
            pass
        try:
            found = False
            prefix = key.rstrip("/") + "/"
            async for batch in obstore.list(store, prefix):
                for item in batch:
                    found = True
                    path = target / item["path"].removeprefix(prefix)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    await _fetch(store, item["path"], path)
        except BaseError as error:
            raise ArtifactError(f"cannot read s3://{s3.bucket or self.bucket}/{key}: {error}") from error
        if not found:
            raise ArtifactNotFoundError(f"The specified key does not exist: s3://{s3.bucket or self.bucket}/{key}")

    async def save(self, artifact: m.Artifact, source: Path, prefix: str) -> m.Artifact:
        """Store an output artifact.

        Args:
            artifact: as the template declares it.
            source: where its path lies on the host.
            prefix: of the key where the artifact has none: `workflow/pod`.

        Returns:
            The artifact with its place, as it stands in the node's outputs.

        Raises:
            ArtifactNotFoundError: nothing is at its path.
            ArtifactError: the store cannot be written.
        """
        if not source.exists():
            raise ArtifactNotFoundError(f"{artifact.path} no such file or directory")
        archive = artifact.archive
        plain = archive is not None and archive.none is not None
        s3 = (artifact.s3 or m.S3Artifact()).model_copy()
        if not s3.key:
            s3.key = f"{prefix}/{source.name if plain else artifact.name + '.tgz'}"
        try:
            if plain:
                await self._upload(s3, source)
            else:
                level = archive.tar.compression_level if archive is not None and archive.tar is not None else None
                packed = source.parent / f".{uuid.uuid4()}.tgz"
                try:
                    pack(source, packed, 6 if level is None else level)
                    await self._upload(s3, packed)
                finally:
                    packed.unlink(missing_ok=True)
        except (BaseError, OSError) as error:
            raise ArtifactError(f"cannot write s3://{s3.bucket or self.bucket}/{s3.key}: {error}") from error
        return artifact.model_copy(update={"s3": s3})

    async def _upload(self, s3: m.S3Artifact, source: Path) -> None:
        store, key = self.store(s3), s3.key or ""
        if not source.is_dir():
            await obstore.put_async(store, key, source, chunk_size=_CHUNK)
            return
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            await obstore.put_async(store, f"{key}/{path.relative_to(source).as_posix()}", path, chunk_size=_CHUNK)


async def _fetch(store: S3Store, key: str, target: Path) -> None:
    try:
        answer = await obstore.get_async(store, key)
    except FileNotFoundError:
        raise
    except BaseError as error:
        raise ArtifactError(f"cannot read {key}: {error}") from error
    with target.open("wb") as file:
        async for chunk in answer.stream(min_chunk_size=_CHUNK):
            file.write(chunk)


def remove_tree(folder: Path) -> None:
    """Delete a pod's folder, whatever it left there."""
    shutil.rmtree(folder, ignore_errors=True)
