from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from meta.stack import PartName
from meta.stack.credentials import Credentials
from tests.support.chain import environments_folder
from tests.support.objects import ObjectServer
from tests.support.stack import StackCommand


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Generator[ObjectServer]:
    """The embedded stack's S3 server alone."""
    folder = tmp_path_factory.mktemp("objects") / "stack"
    with StackCommand(folder) as command:
        endpoint = command.up(PartName.S3).s3
        keys = Credentials.of(folder)
        yield ObjectServer(endpoint, keys.access_key, keys.secret_key)


@pytest.fixture(scope="session")
def environments() -> Path:
    return environments_folder()
