"""Every snippet of docs/{cli,python-sdk,events,configuration}.md runs."""

from __future__ import annotations

import asyncio
import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.client import Client
from typer.main import get_command
from typer.testing import CliRunner

from meta.cli.app import app
from meta.config import load_config
from meta.store.triggers import EventRecord, event_row_id
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig

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


async def test_the_snippet_of_events_starts_a_run(temporal: Client, tmp_path: Path, nats: NatsServer) -> None:
    async with make_rig(temporal, tmp_path, nats.url) as rig, rig.client() as client:
        await client.publish(rig.chain())
        main = main_of(snippets("events.md", "python")[0])
        assert rig.service.triggers is not None
        async with asyncio.timeout(30):
            await rig.service.triggers.ready.wait()
            result = main(nats.url)
            assert inspect.isawaitable(result)
            await result
            while not (runs := (await client.list()).runs):
                await asyncio.sleep(0.05)
    assert runs[0].inputs["rate"] == 2


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
    every = {"temporal", "nats", "store", "grpc", "worker", "objects", "stores", "engines"}
    assert every == set(type(config).model_fields), "the page shows every section"
