"""Two S3 servers: the common store, and a lake that the engine reads."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Generator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from meta.stack import PartName
from meta.stack.credentials import Credentials
from tests.support.objects import BUCKET, ObjectServer
from tests.support.stack import StackCommand
from workers.artifacts import ArtifactStore
from workers.artifacts.transfer import PART
from workers.settings import ArgoSettings, NamedStore, StoreSettings
from workflows.outcome import Artifact

LAKE = f"s3://{BUCKET}/lake"
"""What the second server serves: both have the same bucket, and the rest of it is the common store's."""


@pytest.fixture(scope="session")
def lake_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ObjectServer]:
    folder = tmp_path_factory.mktemp("lake") / "stack"
    with StackCommand(folder) as command:
        endpoint = command.up(PartName.S3).s3
        keys = Credentials.of(folder)
        yield ObjectServer(endpoint, keys.access_key, keys.secret_key)


def settings_of(server: ObjectServer, endpoint: str = "") -> StoreSettings:
    return StoreSettings(
        endpoint=endpoint or server.endpoint,
        access_key=SecretStr(server.access_key),
        secret_key=SecretStr(server.secret_key),
    )


@dataclass(frozen=True)
class Lake:
    """The installation of these tests: objects are in the common store, the engine `argo` reads the lake alone.

    Attributes:
        common: server of the common store.
        server: of the lake.
        staging: where copies go; a place of the test's own.
    """

    common: ObjectServer
    server: ObjectServer
    staging: str

    def artifacts(self, endpoint: str = "") -> ArtifactStore:
        """The stores, as one worker has them; the lake is reached at another endpoint if one is given."""
        lake = NamedStore(
            **settings_of(self.server, endpoint).model_dump(exclude={"staging"}), serves=(LAKE,), staging=self.staging
        )
        engine = ArgoSettings(url="http://unused", stores=("lake",))
        return ArtifactStore(settings_of(self.common), {"lake": lake}, {"argo": engine})

    def read(self, uri: str) -> bytes:
        return self.server.read(uri)


PARTS = 9
"""Parts of the large object, the last one short."""


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def name() -> str:
    """One that no other test has."""
    return uuid.uuid4().hex[:8]


@pytest.fixture(scope="session")
def large(objects: ObjectServer) -> tuple[Artifact, bytes]:
    """An object of several parts in the common store."""
    data = some_bytes(PARTS * PART - 17)
    uri = objects.put(f"{name()}/model.npz", data)
    digest = hashlib.sha256(data).hexdigest()
    return Artifact(name="model", uri=uri, sha256=digest, size=len(data), producer="train"), data


@pytest.fixture
def lake(objects: ObjectServer, lake_server: ObjectServer) -> Lake:
    return Lake(objects, lake_server, f"{LAKE}/{name()}")
