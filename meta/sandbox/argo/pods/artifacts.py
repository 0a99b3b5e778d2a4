"""Artifacts between a pod's folder and where they are kept."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from urllib.parse import urlsplit

import yaml
from hera.workflows import models as m
from obstore.store import LocalStore, S3Store
from pydantic import ValidationError

from meta.sandbox.argo.operator.tags import replace_string
from meta.sandbox.argo.pods import transports
from meta.sandbox.argo.pods.archive import ARCHIVE_ERRORS, is_tarball, pack, pack_zip, place, unpack
from meta.sandbox.argo.pods.transports import ArtifactError, ArtifactNotFoundError, Budget, ObjectStore
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.kubernetes_objects import KubernetesObjects, MissingObjectError

KEY_FORMAT = "{{workflow.name}}/{{pod.name}}"
DEFAULT_CONFIG_MAP = "artifact-repositories"
LIMIT = 10 * 1024**3
_LOCAL = "local"  # the endpoint of a store that is a folder


class RepositoryError(Exception):
    """`artifactRepositoryRef` names nothing that was given, or something that the sandbox does not have."""


@dataclass(frozen=True, slots=True)
class ArtifactRepository:
    """Where artifacts are kept whose manifest does not say where, and the credentials for every store.

    Attributes:
        endpoint: URL with scheme, as `http://127.0.0.1:8333`; None keeps them in files below `root`.
        objects: Secrets with credentials that manifests name; what is not there is replaced by our own.
        limit: bytes that one artifact may have, packed or not.
        location: the default bucket and endpoint, where it is not ours: of an `artifactRepositoryRef`.
        key_format: of keys that manifests do not say.
    """

    endpoint: str | None
    bucket: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    root: Path | None = None
    objects: KubernetesObjects = field(default_factory=KubernetesObjects)
    limit: int = LIMIT
    location: m.S3Artifact = field(default_factory=m.S3Artifact)
    key_format: str = KEY_FORMAT

    def status(self, reference: m.ArtifactRepositoryRef | None = None, namespace: str = "") -> JsonObject:
        """`status.artifactRepositoryRef`: host and port without the scheme, as Argo writes an endpoint.

        Args:
            reference: the workflow's own; None for the default.
            namespace: of the workflow.

        Raises:
            RepositoryError: it names nothing that was given.
        """
        if reference is not None:
            name, key = reference.config_map or DEFAULT_CONFIG_MAP, reference.key or ""
            repository: JsonObject = {"s3": self._given(name, key)}
            return {"configMap": name, "key": key, "namespace": namespace, "artifactRepository": repository}
        s3: JsonObject = {"endpoint": urlsplit(self.endpoint).netloc if self.endpoint else _LOCAL}
        s3["bucket"] = self.bucket
        if self.endpoint is None or urlsplit(self.endpoint).scheme != "https":
            s3["insecure"] = True
        s3["keyFormat"] = KEY_FORMAT
        return {"default": True, "artifactRepository": {"s3": s3}}

    def _given(self, name: str, key: str) -> JsonObject:
        try:
            text = self.objects.value("ConfigMap", m.ConfigMapKeySelector(name=name, key=key)) or b""
            given = cast("JsonObject", yaml.safe_load(text.decode()))
            s3 = cast("JsonObject", given["s3"])
            m.S3Artifact.model_validate(s3)
        except (MissingObjectError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
            raise RepositoryError(f"artifactRepositoryRef: {name}#{key} gives no S3 repository: {error}") from error
        if set(given) - {"s3", "archiveLogs"} or given.get("archiveLogs"):
            raise RepositoryError(f"artifactRepositoryRef: {name}#{key}: the sandbox knows `s3` only")
        return s3

    def of(self, status: JsonObject | None) -> ArtifactRepository:
        """The repository of a workflow, by its `status.artifactRepositoryRef`."""
        if not status or status.get("default"):
            return self
        s3 = cast("dict[str, JsonObject]", status["artifactRepository"])["s3"]
        location = m.S3Artifact.model_validate(s3)
        return replace(self, location=location, key_format=str(s3.get("keyFormat") or KEY_FORMAT))

    def store(self, s3: m.S3Artifact) -> ObjectStore:
        """The bucket of an artifact; what its manifest does not say is the default's.

        Raises:
            ArtifactError: the bucket's name is none.
        """
        if not s3.bucket or not s3.endpoint:
            ours = {key: value for key, value in self.location.model_dump(exclude={"key"}).items() if value}
            theirs = {key: value for key, value in s3.model_dump().items() if value}
            s3 = m.S3Artifact.model_validate({**ours, **theirs})
        bucket = s3.bucket or self.bucket
        if self.root is not None and s3.endpoint in (None, "", _LOCAL):
            if "/" in bucket or bucket in {".", ".."}:
                raise ArtifactError(f"{bucket} is no name of a bucket")
            return LocalStore(self.root / bucket, mkdir=True)
        endpoint = self.endpoint
        if s3.endpoint:
            endpoint = f"{'http' if s3.insecure else 'https'}://{s3.endpoint}"
        return S3Store(
            bucket,
            endpoint=endpoint or "",
            access_key_id=self._credential(s3.access_key_secret) or self.access_key_id,
            secret_access_key=self._credential(s3.secret_key_secret) or self.secret_access_key,
            region=s3.region or self.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "60s"},
            retry_config={"max_retries": 3},
        )

    def _credential(self, reference: m.SecretKeySelector | None) -> str | None:
        if reference is None:
            return None
        given = self.objects.find("Secret", reference.name, optional=True)
        value = given.data.get(reference.key) if given is not None else None
        return value.decode() if value is not None else None

    async def load(self, artifact: m.Artifact, target: Path) -> None:
        """Bring an input artifact to its path, opened where it is an archive and not said to be none.

        Raises:
            ArtifactNotFoundError: nothing is at its place, or it has no place.
            ArtifactError: the place cannot be read, or the archive not opened.
        """
        budget = Budget(self.limit)
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".load-") as folder:
            temporary = Path(folder) / "artifact"
            await self._fetch(artifact, temporary, budget)
            archive = artifact.archive or m.ArchiveStrategy()
            zipped = archive.zip is not None
            if archive.none is None and (zipped or archive.tar is not None or is_tarball(temporary)):
                try:
                    spend = Budget(self.limit).spend
                    await asyncio.to_thread(unpack, temporary, target, zipped=zipped, spend=spend)
                except ARCHIVE_ERRORS as error:
                    form = "zip" if zipped else "gzip'd tar"
                    raise ArtifactError(f"cannot be opened as a {form}: {error}") from error
            else:
                place(temporary, target)
        if artifact.mode is not None:
            for path in (target, *(target.rglob("*") if artifact.recurse_mode else ())):
                if not path.is_symlink():
                    path.chmod(artifact.mode)

    async def _fetch(self, artifact: m.Artifact, target: Path, budget: Budget) -> None:
        if artifact.raw is not None:
            target.write_text(artifact.raw.data, encoding="utf-8")
        elif artifact.s3 is not None:
            await transports.download(self.store(artifact.s3), artifact.s3.key or "", target, budget)
        elif artifact.http is not None:
            headers = transports.http_headers(artifact.http, self.objects)
            await asyncio.to_thread(transports.http_get, artifact.http.url, headers, target, budget)
        elif artifact.git is not None:
            await transports.git_clone(artifact.git, target)
        else:
            raise ArtifactNotFoundError(f"required artifact '{artifact.name}' not supplied")

    async def save(self, artifact: m.Artifact, source: Path, location: m.S3Artifact) -> m.Artifact:
        """Store an output artifact.

        Args:
            artifact: as the template declares it.
            source: where its path lies on the host.
            location: for an artifact that has none; its key is the folder of the artifact's.

        Returns:
            The artifact with its place, as it stands in the node's outputs.

        Raises:
            ArtifactNotFoundError: nothing is at its path.
            ArtifactError: its place cannot be written.
        """
        if not source.exists():
            raise ArtifactNotFoundError(f"{artifact.path} no such file or directory")
        archive = artifact.archive or m.ArchiveStrategy()
        suffix = "" if archive.none is not None else ".zip" if archive.zip is not None else ".tgz"
        saved = artifact
        if artifact.http is None and not (artifact.s3 and artifact.s3.key):
            s3 = (artifact.s3 or location).model_copy()
            s3.key = f"{location.key}/{artifact.name + suffix if suffix else source.name}"
            saved = artifact.model_copy(update={"s3": s3})
        if not suffix:
            await self._put(saved, source)
            return saved
        packed = source.parent / f".{uuid.uuid4()}{suffix}"
        try:
            if archive.zip is not None:
                await asyncio.to_thread(pack_zip, source, packed)
            else:
                level = archive.tar.compression_level if archive.tar is not None else None
                await asyncio.to_thread(pack, source, packed, 6 if level is None else level)
            await self._put(saved, packed)
        except OSError as error:
            raise ArtifactError(f"cannot be packed: {error}") from error
        finally:
            packed.unlink(missing_ok=True)
        return saved

    async def _put(self, artifact: m.Artifact, source: Path) -> None:
        budget = Budget(self.limit)
        if artifact.http is not None:
            if source.is_dir():
                raise ArtifactError(f"{artifact.path} is a directory: HTTP takes files only")
            headers = transports.http_headers(artifact.http, self.objects)
            await asyncio.to_thread(transports.http_put, artifact.http.url, headers, source, budget)
            return
        s3 = artifact.s3 or m.S3Artifact()
        store = self.store(s3)
        if s3.create_bucket_if_not_present is not None:
            await transports.ensure_bucket(store)
        await transports.upload(store, s3.key or "", source, budget)

    def folder_of(self, location: m.ArtifactLocation | None, values: Mapping[str, str | None]) -> m.S3Artifact:
        """Where a template's artifacts go: its `archiveLocation`, else by the repository's format of keys."""
        s3 = (location.s3 if location and location.s3 else m.S3Artifact()).model_copy()
        s3.key = replace_string(s3.key or self.key_format, values).rstrip("/")
        return s3


def remove_tree(folder: Path) -> None:
    """Delete a pod's folder, whatever it left there."""
    shutil.rmtree(folder, ignore_errors=True)
