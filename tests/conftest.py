from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from meta.stack import PartName
from meta.stack.credentials import Credentials
from tests.support.chain import environments_folder
from tests.support.objects import ObjectServer
from tests.support.stack import StackCommand


def pytest_configure(config: pytest.Config) -> None:
    """Started in the background, we may have been told to ignore Ctrl-C; programs that tests start must not be."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
