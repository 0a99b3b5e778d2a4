"""One adopted KFP run, through lost answers, creates that land late, and worker processes that die on the way."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from meta.store import Store
from tests.integration.engines.adoption import CONNECT_TIMEOUT, REQUEST_TIMEOUT, SETTLE, Trial, run_trials
from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import kfp_submission
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines.json_view import text
from workers.engines.kfp.engine import KfpEngine
from workers.ports import Keeper
from workers.settings import KfpSettings, StoreSettings
from workflows.naming import RunKey

PACKAGE = package(pipeline_spec())


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        stub.faults.hang = 2 * REQUEST_TIMEOUT
        yield stub


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        yield store


def engine_of(stub: KfpStub, keeper: Keeper) -> KfpEngine:
    settings = KfpSettings(
        url=stub.url, connect_timeout=CONNECT_TIMEOUT, request_timeout=REQUEST_TIMEOUT, settle_delay=SETTLE,
        poll=0.3, resync=2.0,
    )  # fmt: skip
    return KfpEngine("kfp", settings, ArtifactStore(StoreSettings()), keeper)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(8), id="eight"),
        *(pytest.param(range(n, n + 25), id=f"from-{n}", marks=pytest.mark.prove) for n in range(0, 200, 25)),
    ],
)
async def test_one_run_goes_on_and_none_is_left_beside_it(stub: KfpStub, store: Store, seeds: Sequence[int]) -> None:
    async def nothing(_draw: random.Random) -> None:
        pass

    async def one(seed: int) -> None:
        key = RunKey(meta_run=f"trial-{seed}", step="train")
        submission = kfp_submission(PACKAGE, run_key=key)
        async with AsyncExitStack() as stack:
            trial = Trial(
                seed, store, lambda keeper: engine_of(stub, keeper), stub.creates, submission, nothing, stack=stack
            )
            ref = await trial.submitted()
            await trial.landed()
            stub.finish(ref.uid)
            await eventually(lambda: stub.state(ref.uid) != "RUNNING", "the adopted run has ended", timeout=30)
            outcome = await trial.waited(ref)
            assert outcome.succeeded, f"the adopted run was ended: {outcome}"
            runs = {
                uid: text(run, "state") for uid, run in stub.runs.items() if text(run, "display_name") == trial.name
            }
            assert runs.pop(ref.uid) == "SUCCEEDED"
            assert set(runs.values()) <= {"FAILED"}, f"left beside {ref.uid}: {runs}; {trial.kills}"
            assert await trial.recorded() == set(runs), "every run that was ended is counted"

    await run_trials(list(seeds), one)
