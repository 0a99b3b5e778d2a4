"""A real S3 server for tests, and a client of it."""

from __future__ import annotations

from dataclasses import dataclass

import obstore
from obstore.store import S3Store

from meta.stack.config_file import BUCKET


@dataclass(frozen=True)
class ObjectServer:
    """Where the objects are; `BUCKET` exists."""

    endpoint: str
    access_key: str
    secret_key: str

    def store(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def put(self, key: str, data: bytes) -> str:
        """Write an object.

        Returns:
            Its URI.
        """
        obstore.put(self.store(), key, data)
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        return bytes(obstore.get(self.store(), key).bytes())

    def read(self, uri: str) -> bytes:
        return self.get(uri.removeprefix(f"s3://{BUCKET}/"))
