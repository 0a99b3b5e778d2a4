from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from meta.store import Store
from meta.store.migrate import differences
from meta.store.tables import ArtifactEdgeRow, ArtifactRow, EngineRunRow, LeaseRow, NodeRow
from meta.store.triggers import EventRecord
from workers.ports import BundleStore, Keeper, Recorder
from workflows.bundle import Bundle
from workflows.errors import DataDirBroken, InvalidInput, NotFound, SettingsInvalid
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import (
    Artifact,
    EngineKind,
    EngineRunRef,
    FailureClass,
    Node,
    Outcome,
    RunState,
    StepKind,
    StepState,
)
from workflows.spec.models import MetaWorkflow

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DEFINITION = MetaWorkflow.model_validate(
    {
        "apiVersion": "meta/v1",
        "kind": "MetaWorkflow",
        "metadata": {"name": "chain", "description": "Two steps"},
        "inputs": {"rate": {"type": "number", "default": 1}},
        "steps": {
            "prepare": {"argo": {"manifest": "prepare.yaml"}, "timeout": "90s"},
            "train": {
                "kfp": {"package": "train.yaml"},
                "artifacts": {"dataset": "${{ steps.prepare.artifacts.ds }}"},
            },
        },
    }
)
BUNDLE = Bundle(definition=DEFINITION, files={"prepare.yaml": "a", "train.yaml": "b"}, source="# with a comment")
REF = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name="chain-prepare-1", uid="u1", namespace="argo")


def snapshot(run_id: str, *, at: datetime = AT, **changes: object) -> RunSnapshot:
    run = RunSnapshot(
        id=run_id,
        workflow="chain",
        bundle_digest=BUNDLE.digest,
        inputs={"rate": 1},
        started_at=at,
        steps=[
            StepSnapshot(name="prepare", kind=StepKind.ARGO, engine="argo"),
            StepSnapshot(name="train", kind=StepKind.KFP, engine="kfp"),
        ],
    )
    return run.model_copy(update=changes)


def test_the_store_is_what_workers_ask_for() -> None:
    def accepts(_bundles: BundleStore, _recorder: Recorder, _keeper: Keeper) -> None: ...

    def check(store: Store) -> None:  # the type checker reads this: Store fits all ports
        accepts(store, store, store)

    assert {"get", "attempt_submitted", "attempt_ended", "attempt_cut", "snapshot"} <= set(dir(Store))
    assert check


async def test_migrations_and_models_agree(store: Store) -> None:
    assert await differences(store.database) == []


async def test_many_openers_at_once_migrate_one_file(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/deep/er/store.db"
    stores = await asyncio.gather(*(Store.open(url) for _ in range(5)))
    await stores[0].bundles.put(BUNDLE)
    assert (await stores[4].get(BUNDLE.digest)).source == "# with a comment"
    for store in stores:
        await store.close()


async def test_processes_that_start_together_migrate_one_file(tmp_path: Path) -> None:
    import sys

    from meta.processes import spawn

    code = (
        f"import asyncio; from meta.store import Store; asyncio.run(Store.open('sqlite+aiosqlite:///{tmp_path}/s.db'))"
    )
    children = [await spawn([sys.executable, "-c", code]) for _ in range(3)]
    assert [await child.wait() for child in children] == [0, 0, 0]


async def test_a_bundle_comes_back_with_the_digest_it_went_in_with(store: Store) -> None:
    assert await store.bundles.put(BUNDLE) is True
    assert await store.bundles.put(BUNDLE) is False
    back = await store.get(BUNDLE.digest)
    assert back == BUNDLE
    assert back.digest == BUNDLE.digest
    with pytest.raises(NotFound, match="no bundle sha256:0"):
        await store.get("sha256:0")


@pytest.mark.parametrize("order", ["the engine first", "the workflow first"])
async def test_the_workflows_word_on_an_attempt_that_it_ended_wins_over_the_engines(store: Store, order: str) -> None:
    key = RunKey(meta_run="r1", step="prepare")
    await store.attempt_cut(key, FailureClass.CANCELLED, "before anything was adopted")  # does nothing
    await store.attempt_submitted("chain", key, REF, AT)
    failed = Outcome(failure=FailureClass.FAILED, message="run failed", nodes=[Node(id="n", name="main")])
    calls = [
        store.attempt_ended("chain", key, REF, failed, AT + timedelta(seconds=1)),
        store.attempt_cut(key, FailureClass.TIMED_OUT, "attempt timed out"),
    ]
    for call in calls if order == "the engine first" else reversed(calls):
        await call
    async with store.database.read() as session:
        row = (await session.exec(select(EngineRunRow))).one()
        nodes = (await session.exec(select(NodeRow))).all()
    assert (row.failure, row.message, row.succeeded) == ("timed_out", "attempt timed out", False)
    assert row.ended_at == AT + timedelta(seconds=1)
    assert len(nodes) == 1, "what the engine told of its nodes is kept all the same"


async def test_an_attempt_that_had_succeeded_before_it_could_be_ended_stays_a_success(store: Store) -> None:
    key = RunKey(meta_run="r1", step="prepare")
    await store.attempt_submitted("chain", key, REF, AT)
    await store.attempt_cut(key, FailureClass.CANCELLED, "cancelled")
    await store.attempt_ended("chain", key, REF, Outcome(), AT)
    await store.attempt_cut(key, FailureClass.CANCELLED, "cancelled")
    async with store.database.read() as session:
        row = (await session.exec(select(EngineRunRow))).one()
    assert (row.failure, row.succeeded) == (None, True)


async def test_publishing_counts_versions_and_a_repeat_makes_none(store: Store) -> None:
    other = Bundle(definition=DEFINITION, files={"prepare.yaml": "a2", "train.yaml": "b"})
    await store.bundles.put(BUNDLE)
    await store.bundles.put(other)
    versions = [(await store.workflows.publish(b.digest)).version for b in (BUNDLE, BUNDLE, other, BUNDLE)]
    assert versions == [1, 1, 2, 3]
    assert [(w.name, w.version, w.description) for w in await store.workflows.list()] == [("chain", 3, "Two steps")]
    assert (await store.workflows.newest("chain")).bundle_digest == BUNDLE.digest
    with pytest.raises(NotFound, match="did you mean 'chain'"):
        await store.workflows.newest("chian")


async def test_lineage_of_an_attempt_is_written_once_however_often_it_is_told(store: Store) -> None:
    key = RunKey(meta_run="chain-1", step="prepare")
    outcome = Outcome(
        outputs={"rows": "1797"},
        artifacts={"ds": Artifact(name="ds", uri="s3://meta/ds", sha256="cd", size=10, type="")},
        nodes=[Node(id="n1", name="split", phase="Succeeded", started_at=AT), Node(id="n2", name="all")],
        finished_at=AT,
    )
    for _ in range(2):  # the end may be told before the start, and both before the service wrote the run down
        await store.attempt_ended("chain", key, REF, outcome, AT)
        await store.attempt_submitted("chain", key, REF, AT)
    first = (await store.runs.revisions(["chain-1"]))["chain-1"]
    await store.attempt_ended("chain", key, REF, outcome, AT)
    assert (await store.runs.revisions(["chain-1"]))["chain-1"] == first, "nothing new, no new revision"
    await store.runs.create(snapshot("chain-1", request_id="q"), "sha256:1", DEFINITION)

    run = await store.runs.get("chain-1")
    assert [(s.name, s.state, s.nodes) for s in run.steps] == [
        ("prepare", StepState.SUCCEEDED, 2),
        ("train", StepState.PENDING, 0),
    ]
    assert run.steps[0].artifacts["ds"].uri == "s3://meta/ds"
    assert run.request_id == "q"
    async with store.database.read() as session:
        engine_runs = (await session.exec(select(EngineRunRow))).all()
        assert [(r.name, r.succeeded, r.submitted_at, r.ended_at) for r in engine_runs] == [
            ("chain-prepare-1", True, AT, AT)
        ]
        assert sorted(n.id for n in (await session.exec(select(NodeRow))).all()) == ["n1", "n2"]
        assert [a.sha256 for a in (await session.exec(select(ArtifactRow))).all()] == ["cd"]
        edges = (await session.exec(select(ArtifactEdgeRow))).all()
        assert [(e.producer, e.artifact, e.consumer, e.input) for e in edges] == [("prepare", "ds", "train", "dataset")]


async def test_an_outcome_with_thousands_of_nodes_is_written(store: Store) -> None:
    nodes = [Node(id=f"n{i}", name="x") for i in range(3000)]
    key = RunKey(meta_run="chain-1", step="prepare")
    await store.attempt_ended("chain", key, REF, Outcome(nodes=nodes), AT)
    assert (await store.runs.get("chain-1")).steps[0].nodes == 3000


async def test_revisions_rise_with_each_change_and_only_then(store: Store) -> None:
    await store.snapshot(snapshot("chain-1"))
    first = (await store.runs.revisions(["chain-1", "unknown"]))["chain-1"]
    await store.snapshot(snapshot("chain-1"))
    assert await store.runs.revisions(["chain-1"]) == {"chain-1": first}
    await store.snapshot(snapshot("chain-1", state=RunState.SUCCEEDED, finished_at=AT, outputs={"a": 1}))
    assert (await store.runs.revisions(["chain-1"]))["chain-1"] == first + 1
    await store.snapshot(snapshot("chain-1"))
    assert (await store.runs.get("chain-1")).state is RunState.SUCCEEDED


async def test_a_run_is_found_by_its_request(store: Store) -> None:
    await store.runs.create(snapshot("chain-1", request_id="q"), "sha256:1", DEFINITION)
    found = await store.runs.requested("chain", "q")
    assert found is not None
    assert (found.run_id, found.inputs_digest, found.bundle_digest) == ("chain-1", "sha256:1", BUNDLE.digest)
    assert await store.runs.requested("other", "q") is None


async def test_pages_of_runs_are_newest_first_and_complete(store: Store) -> None:
    for i in range(7):
        state = RunState.FAILED if i % 2 else RunState.RUNNING
        await store.snapshot(snapshot(f"chain-{i}", at=AT + timedelta(seconds=i // 2), state=state))
    seen: list[str] = []
    token = ""
    while True:
        page = await store.runs.list(size=3, token=token)
        seen += [run.id for run in page.runs]
        if not (token := page.next_token):
            break
    assert seen == ["chain-6", "chain-5", "chain-4", "chain-3", "chain-2", "chain-1", "chain-0"]
    assert {run.id for run in (await store.runs.list(state=RunState.FAILED)).runs} == {"chain-1", "chain-3", "chain-5"}
    assert (await store.runs.list(workflow="other")).runs == []
    with pytest.raises(InvalidInput, match="page token"):
        await store.runs.list(token="!!")


async def test_writers_of_two_connections_do_not_lose_each_others_news(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with await Store.open(url) as one, await Store.open(url) as two:

        async def tell(store: Store, attempt: int) -> None:
            key = RunKey(meta_run="chain-1", step=f"s{attempt}")
            await store.attempt_submitted("chain", key, REF, AT)

        await asyncio.gather(*(tell(store, i) for i, store in enumerate([one, two] * 10)))
        assert len((await one.runs.get("chain-1")).steps) == 20


async def test_a_message_that_started_a_run_stays_so_and_a_dead_one_may_start_later(store: Store) -> None:
    dead = EventRecord("chain", "", "m1", "nats", "s", "dead", code="NOT_FOUND", data=b"{}")
    await store.triggers.put(dead)
    [event] = await store.triggers.list("chain")
    assert (event.outcome, event.code, event.data) == ("dead", "NOT_FOUND", b"{}")
    await store.triggers.put(replace(dead, outcome="started", run_id="r", code="", data=None))
    await store.triggers.put(dead)
    [event] = await store.triggers.list("chain")
    assert (event.id, event.outcome, event.run_id, event.data) == (dead.id, "started", "r", None)


async def test_a_removed_name_is_gone_and_comes_again_as_the_next_version(store: Store) -> None:
    await store.bundles.put(BUNDLE)
    await store.workflows.publish(BUNDLE.digest)
    await store.workflows.remove("chain")
    assert await store.workflows.list() == []
    with pytest.raises(NotFound):
        await store.workflows.remove("chain")
    assert (await store.workflows.publish(BUNDLE.digest)).version == 2
    assert [w.name for w in await store.workflows.list()] == ["chain"]


async def test_bad_addresses_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="scheme 'mysql'"):
        await Store.open("mysql://x/y")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataDirBroken, match="no folder for the store"):
        await Store.open(f"sqlite+aiosqlite:///{tmp_path}/file/store.db")
    (tmp_path / "broken.db").write_text("this is no database at all, but long enough to be read as one" * 20)
    with pytest.raises(DataDirBroken, match="damaged"):
        await Store.open(f"sqlite+aiosqlite:///{tmp_path}/broken.db")


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with await Store.open(url) as store:
        from sqlalchemy import text

        async with store.database.write() as session:
            await (await session.connection()).execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DataDirBroken, match="schema is not one of this version's"):
        await Store.open(url)


async def test_a_new_run_is_written_at_once_as_it_is_written_step_by_step(tmp_path: Path) -> None:
    """What `create` writes of a run that nobody has told of is what folding it into nothing gives."""
    steps = [StepSnapshot(name=name, kind=StepKind.ARGO, engine="argo") for name in ("a", "b")]
    for state in (RunState.RUNNING, RunState.FAILED):
        run = RunSnapshot(
            id="chain-1", workflow="chain", bundle_digest=BUNDLE.digest, request_id="r", state=state, steps=steps,
            started_at=AT, finished_at=AT if state.ended else None, inputs={"x": 1},
        )  # fmt: skip
        kept = list[object]()
        for number, at_once in enumerate((True, False)):
            async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/{state}{number}.db", outgoing=True) as store:
                if at_once:
                    await store.runs.create(run, "", BUNDLE.definition)
                    await store.runs.create(run, "", BUNDLE.definition)
                else:
                    await store.runs.snapshot(run)
                told = [(row.event_id, row.subject, row.what) for row in await store.outbox.unsent(100, [])]
                kept.append((await store.runs.get("chain-1"), told))
        assert kept[0] == kept[1]


async def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    row = {"key": "k", "token": "t", "holder": "h", "tried": False, "expires_at": AT}

    def write(session: Session) -> None:
        store.database.insert(session, LeaseRow, [row])
        raise ValueError("changed its mind")

    with pytest.raises(ValueError, match="changed its mind"):
        await store.database.transact(write)
    async with store.database.read() as session:
        assert (await session.exec(select(LeaseRow))).all() == []
