from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.integration.sweep.rig import Rig, installation
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub


@pytest.fixture
async def argo() -> AsyncGenerator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        yield stub


@pytest.fixture
async def kfp() -> AsyncGenerator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, argo: ArgoStub, kfp: KfpStub) -> AsyncGenerator[Rig]:
    """An installation that serves and works."""
    async with installation(temporal, tmp_path / "here", argo, kfp) as made:
        await made.serve()
        await made.work()
        yield made
