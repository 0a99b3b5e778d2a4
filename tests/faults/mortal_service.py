"""The service as a process that dies, with no time for a word, of a message that asks for a run with the number 13."""

from __future__ import annotations

import os

from meta.api.starter import Started, Starter
from meta.server_process import run_server
from meta.service import serve

DEADLY, EXIT_CODE = 13, 77

_start = Starter.start


async def start(starter: Starter, **wanted: object) -> Started:
    inputs = wanted["inputs"]
    if isinstance(inputs, dict) and inputs.get("number") == DEADLY:  # pyright: ignore[reportUnknownMemberType]
        os._exit(EXIT_CODE)
    return await _start(starter, **wanted)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    Starter.start = start  # pyright: ignore[reportAttributeAccessIssue]
    run_server("service", "Serves the API and the triggers.", serve)
