"""The Temporal workflow that runs a part of a fan-out too large for one history."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from workflows.fanout_messages import CHUNK_TYPE, ItemsEnd, StartChunk
from workflows.item_runs import ItemRuns
from workflows.markdown import plain
from workflows.values import canonical_json

MAX_LISTS = 16 * 1024
"""Bytes of JSON of a chunk's outputs and artifacts in its result; larger ones are read from the store."""


@workflow.defn(name=CHUNK_TYPE)
class MetaChunk:
    """Items of a step of a meta-run, whose id begins this one's."""

    @workflow.init
    def __init__(self, start: StartChunk) -> None:
        self._start = start
        self._runs = ItemRuns(
            start.shared,
            start.items,
            first=start.first,
            parallelism=start.parallelism,
            fail_fast=start.fail_fast,
            changed=self._show,
            told=self._told,
        )

    @workflow.run
    async def run(self, start: StartChunk) -> ItemsEnd:
        """Run the items.

        Returns:
            What they came to, also when this was cancelled: then every engine run has ended.
        """
        try:
            await self._runs.run()
        except asyncio.CancelledError:
            pass  # how far it came is told all the same
        end = self._runs.end()
        if len(canonical_json(end.model_dump(mode="json")["lists"])) > MAX_LISTS:
            end = end.model_copy(update={"lists": None})
        return end

    def _show(self) -> None:
        runs, start = self._runs, self._start
        words = f"{runs.succeeded} succeeded, {runs.failed} failed, {runs.running} running"
        last = start.first + len(start.items) - 1
        of = f"items {start.first} to {last} of {start.shared.total}"
        workflow.set_current_details(f"**{plain(start.shared.name, 63)}**, {of}: {words}")

    async def _told(self) -> None:
        """What has ended before was told by the run that this is a part of."""
