"""Draws the picture of a trace for the documentation, from a real run on the sandbox engines.

    python docs/pictures/waterfall.py

starts an embedded stack in a folder of its own, runs docs/examples/traced, writes trace.svg beside this file and prints
what the terminal shows. It takes about a minute. With a folder as its argument it writes the other forms there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from meta.client import MetaClient
from meta.stack import EmbeddedStack, StackOptions
from workflows.outcome import RunState

HERE = Path(__file__).parent
CHAIN = HERE.parent / "examples" / "traced" / "workflow.yaml"
ENVIRONMENTS = Path(os.environ.get("META_ENVIRONMENTS") or Path.home() / ".cache" / "meta-workflows" / "environments")


async def draw(folder: str) -> None:
    """Run the chain and write its picture."""
    options = StackOptions(data_dir=Path(folder), environments=ENVIRONMENTS)
    async with EmbeddedStack(options) as stack, MetaClient(stack.addresses.grpc) as client:
        started = await client.start(CHAIN, request_id="picture")  # the same id every time
        ended = await client.wait(started.id)
        if ended.state is not RunState.SUCCEEDED:
            raise SystemExit(f"the run is {ended.state.value}: {ended.message}")
        command = [sys.executable, "-m", "meta", "--address", stack.addresses.grpc, "trace", started.id]
        for rest in ([], ["--output", "svg", "--file", str(HERE / "trace.svg")], *extra(started.id)):
            await asyncio.to_thread(subprocess.run, [*command, *rest], check=True)


def extra(run_id: str) -> list[list[str]]:
    """The other forms, when a folder for them is named on the command line."""
    if len(sys.argv) < 2:
        return []
    return [["--output", form, "--file", f"{sys.argv[1]}/{run_id}.{form}"] for form in ("html", "json", "text")]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="meta-picture-") as data_dir:
        asyncio.run(draw(data_dir))
