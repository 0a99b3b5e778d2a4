"""The client of docs/bridge.md runs, with its configuration."""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from pathlib import Path

from temporalio.client import Client

from meta.config import TriggersConfig
from tests.docs.pages import snippets
from tests.integration.bridge.conftest import ready
from tests.integration.service.servers import CHAIN, NatsServer
from tests.integration.service.servers import rig as make_rig

INGEST = CHAIN.replace("name: chain", "name: ingest-documents").replace(
    "inputs:\n", "inputs:\n  source_url: {type: string}\n  chunk_size: {type: integer, default: 256}\n"
)


async def test_the_client_of_the_page_is_served(temporal: Client, tmp_path: Path, nats: NatsServer) -> None:
    (configuration,) = snippets("toml", pages=("docs/bridge.md",))
    (client,) = snippets("python", pages=("docs/bridge.md",))
    triggers = TriggersConfig.model_validate(tomllib.loads(configuration.text)["triggers"])
    names: dict[str, object] = {}
    exec(compile(client.text, "snippet", "exec"), names)
    main = names["main"]
    assert callable(main)
    async with make_rig(temporal, tmp_path, nats.url, triggers) as rig, rig.client() as api:
        await api.publish(rig.chain(INGEST))
        await ready(rig.service)
        await rig.work()
        async with asyncio.timeout(60):
            running = main(nats.url)
            assert inspect.isawaitable(running)
            seen = await running
        assert [one["status"] for one in seen] == ["submitted", "pending", "running", "running", "succeeded"]
        run = await api.get(seen[-1]["run_id"])
        assert run.inputs["chunk_size"] == 512
