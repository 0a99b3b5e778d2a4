"""docs/life-cycle-events.md: its program runs, its tables list what there is, its example is an event."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime
from pathlib import Path
from typing import cast

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from meta.events import metrics
from meta.events.publisher import Pace
from meta.events.sending import HEADROOM
from meta.events.stream import DUPLICATE_WINDOW_S
from meta.store.outgoing import MAX_MESSAGE, MAX_VALUES, Kind, happenings
from tests.docs.pages import read, snippets
from tests.integration.service.servers import nats_server
from tests.integration.service.servers import rig as make_rig
from tests.support.temporal import temporal_server
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import EngineKind, EngineRunRef, FailedNode, StepKind, StepState

PAGE = "docs/life-cycle-events.md"


async def test_the_program_hears_a_run_from_its_start_to_its_end(tmp_path: Path) -> None:
    [block] = snippets("python", pages=(PAGE,))
    names: dict[str, object] = {}
    exec(compile(block.text, PAGE, "exec"), names)
    main = names["main"]
    assert callable(main)
    async with (
        temporal_server() as temporal,
        nats_server(tmp_path / "nats") as nats,
        make_rig(temporal, tmp_path, nats.url) as rig,
        rig.client() as client,
    ):
        await rig.work()
        await client.publish(rig.chain())
        run = await client.start("chain")
        await client.wait(run.id)
        while (await rig.store.outbox.size()).count:
            await asyncio.sleep(0.02)
        async with asyncio.timeout(30):
            told = await cast("asyncio.Future[list[str]]", main(nats.url))
    assert told[0] == "meta.run.started"
    assert told[-1] == "meta.run.succeeded"
    assert told.count("meta.step.succeeded") == 2


def test_the_table_lists_every_kind() -> None:
    rows = re.findall(r"^\| `(meta\.\w+\.\w+)` \| `([\w.<>]+)`", read(PAGE), re.MULTILINE)
    assert [kind for kind, _ in rows] == [f"meta.{kind.value}" for kind in Kind]
    for kind, what in rows:
        assert what == kind.removeprefix("meta.").replace("step.", "step.<step>.").replace(
            "artifact.produced", "artifact.<step>.<name>"
        ).replace("approval.", "approval.<step>.")


def test_the_example_is_an_event_with_the_data_of_a_failed_attempt() -> None:
    [block] = snippets("json", pages=(PAGE,))
    event = JSONFormat().read(CloudEvent, block.text)
    data = event.get_data()
    assert isinstance(data, dict)
    ref = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name="chain-train-0c2f", uid="6f1c", namespace="argo")
    step = StepSnapshot(
        name="train", kind=StepKind.ARGO, engine="argo", state=StepState.FAILED, attempt=1, run=ref,
        message="Error (exit code 1)", failed_nodes=[FailedNode(name="main", phase="Failed", exit_code=1)],
    )  # fmt: skip
    run = RunSnapshot(id="chain-7ba5aa8813", workflow="chain", bundle_digest="x", steps=[step])
    told = happenings(run.model_copy(update={"steps": []}), run, None, said=[], now=datetime.now())[-1]
    assert told.id(run.id) == event.get_id()
    assert told.type == event.get_type()
    common = ("run", "workflow", "trigger", "request_id")
    assert list(json.loads(block.text)["data"]) == [*common, *told.data]
    assert {key: value for key, value in data.items() if key not in common} == told.data


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    text = " ".join(read(PAGE).split())
    assert f"beyond {MAX_VALUES // 1024} KB" in text
    assert f"cut at {MAX_MESSAGE} characters" in text
    assert "for ten minutes" in text
    assert DUPLICATE_WINDOW_S == 600
    assert f"at longest every {Pace().longest_pause:.0f} seconds" in text
    assert "after five seconds" in text
    assert Pace().lease == 5
    assert HEADROOM < MAX_VALUES


def test_the_metrics_are_those_that_the_code_documents() -> None:
    assert metrics.__doc__ is not None
    instruments = re.findall(r"^\| `(meta\.[\w.]+)`", metrics.__doc__, re.MULTILINE)
    named = re.findall(r"`(meta\.[\w.]+)`", read(PAGE).partition("## Metrics")[2])
    assert set(instruments) <= set(named)
    assert all(f"`{reason.value}`" in read("docs/metrics.md") for reason in metrics.Failure)
