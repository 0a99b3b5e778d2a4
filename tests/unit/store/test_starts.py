"""What a start by name must know, in one query."""

from __future__ import annotations

import pytest

from meta.store import Store
from meta.store.runs import RequestedRun
from tests.unit.store.test_store import BUNDLE, DEFINITION, snapshot
from workflows.bundle import Bundle
from workflows.errors import NotFound


async def test_the_newest_version_and_the_run_of_a_request_are_found_together(store: Store) -> None:
    nothing = await store.starts.look("chain", "q")
    assert (nothing.known, nothing.newest) == (None, "")
    await store.bundles.put(BUNDLE)
    await store.workflows.publish(BUNDLE.digest)
    await store.runs.create(snapshot("chain-1", request_id="q"), "sha256:1", DEFINITION)
    found = await store.starts.look("chain", "q")
    assert found.known == RequestedRun("chain-1", "sha256:1", BUNDLE.digest)
    assert found.newest == BUNDLE.digest
    other = await store.starts.look("chain", "another")
    assert (other.known, other.newest) == (None, BUNDLE.digest)


async def test_a_request_without_an_id_has_no_run(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "sha256:1", DEFINITION)
    await store.runs.create(snapshot("chain-2"), "sha256:1", DEFINITION)
    assert (await store.starts.look("chain", "")).known is None


async def test_the_last_published_version_counts_and_one_taken_back_does_not(store: Store) -> None:
    newer = Bundle(definition=BUNDLE.definition, files={**BUNDLE.files, "prepare.yaml": "another"})
    for bundle in (BUNDLE, newer):
        await store.bundles.put(bundle)
        await store.workflows.publish(bundle.digest)
    assert (await store.starts.look("chain", "q")).newest == newer.digest
    await store.workflows.remove("chain")
    assert (await store.starts.look("chain", "q")).newest == ""
    with pytest.raises(NotFound):
        await store.workflows.newest_bundle("chain")
