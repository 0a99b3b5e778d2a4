"""Every snippet of docs/{cli,python-sdk,events,configuration}.md runs."""

from __future__ import annotations

import asyncio
import inspect
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import Client
from typer.main import get_command
from typer.testing import CliRunner

from meta.cli.app import app
from meta.config import load_config
from meta.store.triggers import EventRecord, event_row_id
from meta.triggers.decode import Place, decode
from tests.docs.commands import parse
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from workflows.spec import load_definition

DOCS = Path(__file__).parents[3] / "docs"


def snippets(page: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


def main_of(source: str) -> Callable[..., object]:
    names: dict[str, object] = {}
    exec(compile(source, "snippet", "exec"), names)
    main = names["main"]
    assert callable(main)
    return main


@pytest.mark.parametrize(("number", "expected"), [(0, "rate"), (1, "rate"), (2, "code")])
async def test_snippets_of_the_sdk_run(rig: Rig, monkeypatch: pytest.MonkeyPatch, number: int, expected: str) -> None:
    monkeypatch.chdir(rig.chain().parent)
    main = main_of(snippets("python-sdk.md", "python")[number])
    async with asyncio.timeout(30):
        if inspect.iscoroutinefunction(main):
            result = await main(rig.address)
        else:
            result = await asyncio.to_thread(main, rig.address)
    assert isinstance(result, dict)
    assert expected in result


async def test_the_snippet_of_the_sdk_on_events_replays_dead_ones(rig: Rig) -> None:
    data = (b'{"rate": 2}', b"[]")
    async with rig.client() as client:
        await client.publish(rig.chain())
    for number, one in enumerate(data):
        record = EventRecord(
            workflow="chain", trigger="", identity=f"nats:id:{number}", source="nats", subject="meta.trigger.chain",
            outcome="dead", reason="nothing was published then", data=one,
        )  # fmt: skip
        await rig.store.triggers.put(record)
    main = main_of(snippets("python-sdk.md", "python")[3])
    result = main(rig.address)
    assert inspect.isawaitable(result)
    assert await result == {
        "runs": [event_row_id("chain", "nats:id:0")],
        "still dead": [event_row_id("chain", "nats:id:1")],
    }


async def test_the_producer_of_the_page_on_events_starts_its_workflow(
    temporal: Client, tmp_path: Path, nats: NatsServer
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(snippets("events.md", "yaml")[0])
    async with make_rig(temporal, tmp_path, nats.url) as rig, rig.client() as client, asyncio.timeout(30):
        await client.publish(file)
        while [trigger.state for trigger in await client.triggers()] != ["active"]:
            await asyncio.sleep(0.05)
        result = main_of(snippets("events.md", "python")[0])(nats.url)
        assert inspect.isawaitable(result)
        await result
        while not (runs := (await client.list()).runs):
            await asyncio.sleep(0.05)
    assert runs[0].inputs == {"table": "digits", "rate": 0.1}


@pytest.mark.parametrize("definition", snippets("events.md", "yaml"))
def test_every_definition_of_the_page_on_events_is_valid(definition: str) -> None:
    assert load_definition(definition).triggers


def test_the_event_of_the_page_is_read() -> None:
    place = Place(stream="S", created="", sequence=1, time=datetime.now(UTC), deliveries=1)
    event = decode("s", snippets("events.md", "json")[0].encode(), None, place, max_bytes=1000)
    assert (event.identity, event.data) == ("ce:/lake:e-1", {"rows": 1200})


@pytest.mark.parametrize("line", [line for block in snippets("events.md", "console") for line in block.splitlines()])
def test_every_command_of_the_page_on_events_is_one(line: str) -> None:
    parse(shlex.split(line.removeprefix("$ meta ")))


async def test_the_commands_of_the_page_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rig.chain().parent)
    lines = [line for block in snippets("cli.md", "console") for line in block.splitlines()]
    assert len(lines) > 4
    for line in lines:
        words = shlex.split(line.removeprefix("$ meta "))
        result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, *words])
        assert result.exit_code == 0, f"{line}: {result.output}"


def test_every_command_is_on_the_page() -> None:
    page = (DOCS / "cli.md").read_text()
    commands = getattr(get_command(app), "commands")  # noqa: B009 -- typer keeps click's groups private
    assert [name for name in commands if not re.search(rf"`(meta )?{name}\b", page)] == []


def test_the_configuration_of_the_page_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "meta.toml"
    file.write_text(snippets("configuration.md", "toml")[0])
    config = load_config(file)
    assert set(config.engines) == {"argo", "kfp"}
    assert config.temporal.address == "temporal:7233"
    shown = {"temporal", "nats", "triggers", "store", "grpc", "worker", "telemetry", "objects", "stores", "engines"}
    assert shown | {"use_cases"} == set(type(config).model_fields), "the page shows every section"
