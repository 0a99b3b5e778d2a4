"""What the workflow tells the store while it runs, beside what activities tell of their attempts."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows import calls
from workflows.board import Board

_TOLD = "record-ends-of-steps"  # id of a patch: runs from before tell of such ends when they end themselves


class News:
    """Records what only the workflow knows, as that a step failed for good, while steps run.

    That an attempt succeeded is told by the activity that saw it. Many news together are one record: whoever comes
    while one is written goes with the next. A run that is about to end makes none, for its last word tells all.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._known: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Start to tell, if there is something; called after each change of the board."""
        if self._task is None and self._untold() and workflow.patched(_TOLD):
            self._task = asyncio.create_task(self._tell(), name="news")

    async def told(self) -> None:
        """Wait until the store knows of the ends so far: a step that follows one starts after it."""
        if self._task is not None:
            await workflow.wait_condition(lambda: self._task is None)

    async def last(self) -> None:
        """Tell of the run's end, after all else."""
        if self._task is not None:
            await self._task
        await calls.record(self._board.snapshot())

    def _untold(self) -> set[str]:
        return self._board.own_news() - self._known if self._board.runs_on() else set()

    async def _tell(self) -> None:
        try:
            while untold := self._untold():
                self._known |= untold
                await calls.record(self._board.snapshot())
        except FailureError as error:  # the run's last word tells it again
            workflow.logger.warning("the end of a step was not recorded: %s", error)
        finally:
            self._task = None
