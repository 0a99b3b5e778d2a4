"""One adopted Workflow, through lost answers, late creates, freed names, and processes that die on the way."""

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
from tests.integration.engines.submissions import argo_submission
from tests.stubs.argo import ENDED, ArgoStub
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import text
from workers.ports import Keeper
from workers.settings import ArgoSettings, StoreSettings
from workflows.naming import RunKey


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        stub.faults.hang = 2 * REQUEST_TIMEOUT
        stub.faults.archive = True
        yield stub


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        yield store


def engine_of(stub: ArgoStub, keeper: Keeper) -> ArgoEngine:
    settings = ArgoSettings(
        url=stub.url, connect_timeout=CONNECT_TIMEOUT, request_timeout=REQUEST_TIMEOUT, settle_delay=SETTLE, resync=2.0
    )
    return ArgoEngine("argo", settings, ArtifactStore(StoreSettings()), keeper)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(8), id="eight"),
        *(pytest.param(range(n, n + 25), id=f"from-{n}", marks=pytest.mark.prove) for n in range(0, 200, 25)),
    ],
)
async def test_one_workflow_goes_on_and_none_is_left_beside_it(
    stub: ArgoStub, store: Store, seeds: Sequence[int]
) -> None:
    stub.faults.archive_by_name = seeds[0] % 50 == 0  # as servers from 3.5 on do; the others read the archive itself

    async def one(seed: int) -> None:
        key = RunKey(meta_run=f"trial-{seed}", step="prepare")
        submission = argo_submission(run_key=key)
        name = submission.name

        async def finished(*, deleted: bool) -> None:
            """End what runs under the name; deleted: its time to live is over at once, and its name free."""
            stub.finish(name)
            await eventually(lambda: stub.phase(name) in ENDED, f"{name} has ended", timeout=30)
            if deleted:
                stub.delete(name)
                await eventually(lambda: name not in stub.workflows, f"{name} is deleted", timeout=30)

        async def meanwhile(draw: random.Random) -> None:
            had = any(text(one, "metadata", "name") == name for one in stub.archive.values())
            if name in stub.workflows and not had and draw.random() < 0.3:
                await finished(deleted=True)

        async with AsyncExitStack() as stack:
            trial = Trial(
                seed, store, lambda keeper: engine_of(stub, keeper), stub.creates, submission, meanwhile, stack=stack
            )
            ref = await trial.submitted()
            if name in stub.workflows and text(stub.workflows[name], "metadata", "uid") == ref.uid:
                await finished(deleted=seed % 2 == 0)
            await trial.landed()  # a create that lands now takes a name that is free
            outcome = await trial.waited(ref)
            assert outcome.succeeded, f"the adopted workflow was ended: {outcome}"
            runs = {
                text(found, "metadata", "uid"): (text(found, "status", "phase"), text(found, "spec", "shutdown"))
                for found in [*stub.workflows.values(), *stub.archive.values()]
                if text(found, "metadata", "name") == name
            }
            assert runs.pop(ref.uid) == ("Succeeded", "")
            assert set(runs.values()) <= {("Failed", "Terminate")}, f"left beside {ref.uid}: {runs}; {trial.kills}"
            assert await trial.recorded() == set(runs), "every workflow that was ended is counted"

    await run_trials(list(seeds), one)
