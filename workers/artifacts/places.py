"""Addresses of objects: URIs taken apart and put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from workers.settings import StoreType
from workflows.errors import ArtifactError

_TYPES = {
    "s3": StoreType.S3,
    "minio": StoreType.S3,
    "gs": StoreType.GCS,
    "az": StoreType.AZURE,
}


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A URI taken apart: `s3://bucket/key` or `file:///folder/name`.

    Attributes:
        scheme: `s3`, `file`, `gcs` or `azure`: what the store speaks.
        bucket: or Azure's container, or the folder that a file is in.
        key: of an object or of a prefix.
    """

    scheme: StoreType
    bucket: str
    key: str

    @property
    def uri(self) -> str:
        match self.scheme:
            case StoreType.FILE:
                return file_uri(str(PurePosixPath(self.bucket) / self.key))
            case StoreType.GCS:
                return f"gs://{self.bucket}/{self.key}"
            case StoreType.AZURE:
                return f"az://{self.bucket}/{self.key}"
            case StoreType.S3:
                return s3_uri(self.bucket, self.key)

    @property
    def name(self) -> str:
        """The last part of the key, without the slash of a prefix."""
        return self.key.rstrip("/").rpartition("/")[2]

    def at(self, key: str) -> ObjectPlace:
        """Another key in the same bucket."""
        return ObjectPlace(self.scheme, self.bucket, key)


def parse_uri(uri: str) -> ObjectPlace:
    """Take an artifact's URI apart.

    `minio://` is what KFP writes for the object store that it installs itself; it speaks S3.

    Raises:
        ArtifactError: not a URI of a store that we can read.
    """
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme in _TYPES and parts.netloc and parts.path.strip("/"):
        query = f"?{parts.query}" if parts.query else ""
        return ObjectPlace(_TYPES[parts.scheme], parts.netloc, parts.path.removeprefix("/") + query)
    if parts.scheme == "file" and parts.path.strip("/"):
        path = PurePosixPath(unquote(parts.path))
        return ObjectPlace(StoreType.FILE, str(path.parent), path.name)
    hint = "artifacts are objects in a store: s3://bucket/key, gs://bucket/key, az://container/key, file:///path"
    if parts.scheme in _TYPES and not parts.netloc:
        hint = "its bucket is not known: does status.artifactRepositoryRef of the Argo workflow name one?"
    raise ArtifactError(f"'{uri}' is not the address of an object", hint=hint)


def s3_uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key.lstrip('/')}"


def file_uri(path: str) -> str:
    """The URI of a local file."""
    return "file://" + quote(path)
