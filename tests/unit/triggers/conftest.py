from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from meta.store import Store
from tests.unit.triggers.support import BUNDLE


@pytest.fixture
async def new_store(tmp_path: Path) -> Callable[[], str]:
    """Makes files of a store in which the chain is published; returns their addresses."""
    made = tmp_path / "made.db"
    async with await Store.open(f"sqlite+aiosqlite:///{made}") as store:
        await store.bundles.put(BUNDLE)
        await store.workflows.publish(BUNDLE.digest)
    numbers = count()

    def make() -> str:
        copy = tmp_path / f"store-{next(numbers)}.db"
        shutil.copyfile(made, copy)
        return f"sqlite+aiosqlite:///{copy}"

    return make
