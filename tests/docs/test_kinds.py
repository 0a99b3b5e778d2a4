"""The pages on approvals, waiting steps and activities: their definitions, programs and commands run."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import nats as nats_client

from meta.triggers.awaited import NatsEvents
from tests.docs.commands import parse
from tests.docs.pages import prose, read, snippets
from tests.integration.service.servers import ARGO, Rig, nats_server
from tests.integration.service.servers import rig as make_rig
from tests.support.temporal import temporal_server
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import StoreSettings
from workflows.decisions import Decide
from workflows.foreign import CONFIRM, LONGEST
from workflows.spec.sources import ActivitySource
from workflows.values import JsonObject

APPROVALS, WAITS, ACTIVITIES = "docs/approvals.md", "docs/waiting-steps.md", "docs/activities.md"
Program = Callable[[str], Awaitable[object]]


def definition(page: str, folder: Path) -> Path:
    [block] = snippets("yaml", pages=(page,))
    own = folder / Path(page).stem
    own.mkdir()
    (own / "step.yaml").write_text(ARGO)
    file = own / "workflow.yaml"
    file.write_text(block.text)
    return file


def main_of(page: str) -> Program:
    [block] = snippets("python", pages=(page,))
    names: dict[str, object] = {"__name__": page}
    exec(compile(block.text, page, "exec"), names)
    return cast(Program, names["main"])


async def until_running(rig: Rig, run: str, step: str) -> None:
    async with asyncio.timeout(30):
        while not any(one.name == step and one.message for one in (await rig.store.runs.get(run)).steps):
            await asyncio.sleep(0.02)


async def approved(rig: Rig, folder: Path) -> JsonObject:
    async with rig.client() as client:
        run = await client.start(definition(APPROVALS, folder))
        await until_running(rig, run.id, "approve")
        assert await main_of(APPROVALS)(rig.address) == ["approve by ann"]
        return await client.result(run.id)


async def waited(rig: Rig, folder: Path) -> JsonObject:
    async with rig.client() as client:
        run = await client.start(definition(WAITS, folder))
        await until_running(rig, run.id, "imported")
        connection = await nats_client.connect(rig.config.nats.url)
        stream = connection.jetstream()
        async with asyncio.timeout(30):
            while not [s for s in await stream.streams_info() if s.config.subjects == ["imports.*.done"]]:
                await asyncio.sleep(0.02)
        for table, rows in (("other", 50), ("digits", 5), ("digits", 40)):
            await stream.publish(f"imports.{table}.done", json.dumps({"table": table, "rows": rows}).encode())
        await connection.close()
        return await client.result(run.id)


async def counted(rig: Rig, folder: Path) -> JsonObject:
    worker = asyncio.ensure_future(main_of(ACTIVITIES)(rig.config.temporal.address))
    async with rig.client() as client:
        run = await client.start(definition(ACTIVITIES, folder))
        result = await client.result(run.id)
    worker.cancel()
    await asyncio.wait([worker])
    return result


async def test_the_definitions_and_programs_of_the_pages_run(tmp_path: Path) -> None:
    async with (
        temporal_server() as temporal,
        nats_server(tmp_path / "nats") as nats,
        make_rig(temporal, tmp_path, nats.url) as rig,
    ):
        await register_search_attributes(temporal)
        events = NatsEvents(rig.config.nats)
        activities = Activities(
            engines={"argo": rig.engine},
            objects=ArtifactStore(StoreSettings()),
            bundles=rig.store,
            recorder=rig.store,
            events=events,
        )
        async with run_workers(temporal, activities, Sizes(shutdown_grace_s=0.1)), asyncio.timeout(90):
            results = await asyncio.gather(*(run(rig, tmp_path) for run in (approved, waited, counted)))
        await events.close()
    assert results == [{"approved_by": "ann"}, {"rows": 40, "subject": "imports.digits.done"}, {"rows": 300}]


def test_the_commands_and_the_json_of_the_page_on_approvals_are_taken() -> None:
    for line in [line for block in snippets("console", pages=(APPROVALS,)) for line in block.commands]:
        parse(shlex.split(line.removeprefix("meta ")))
    [block] = snippets("json", pages=(APPROVALS,))
    assert set(json.loads(block.text)) == set(Decide.model_fields)
    assert Decide.model_validate_json(block.text).approve


def test_the_numbers_of_the_page_on_activities_are_those_of_the_code() -> None:
    page = " ".join(prose(ACTIVITIES).split())
    assert LONGEST.total_seconds() == 24 * 3600
    assert "else 24 hours" in page
    assert CONFIRM.total_seconds() == 60
    assert "`heartbeatTimeout` and a minute more" in page
    assert ActivitySource.model_fields["schedule_timeout"].default.total_seconds() == 3600
    assert "(an hour)" in read(ACTIVITIES)
