"""What SIGTERM means to a command that follows a run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, Self, TypeVar

import typer
from rich.text import Text

from meta.cli.common import stderr
from meta.client import MetaClient

T = TypeVar("T")
EXIT_STOPPED = 128 + signal.SIGTERM


class OnStop(StrEnum):
    """What becomes of the run: its engine runs are ended, or it goes on."""

    CANCEL = "cancel"
    LEAVE = "leave"


class Stop:
    """Catches SIGTERM inside a running event loop, if the run is to be cancelled by it.

    A signal that comes while the run is being started is not lost: it is looked at once the run has an id.
    """

    def __init__(self, on_stop: OnStop) -> None:
        self._cancels = on_stop is OnStop.CANCEL
        self._asked = asyncio.Event()

    def __enter__(self) -> Self:
        if self._cancels:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._asked.set)
        return self

    def __exit__(self, *_: object) -> None:
        if self._cancels:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    async def unless_stopped(self, following: Coroutine[Any, Any, T], client: MetaClient, run_id: str) -> T:
        """Wait for what follows a run, or cancel the run when the signal comes.

        Raises:
            typer.Exit: the signal came, and the service has taken the cancellation, which it carries through by itself.
        """
        task, asked = asyncio.ensure_future(following), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            await client.cancel(run_id, "what waited for it was stopped")
            stderr().print(Text(f"stopped: {run_id} is being cancelled", style="yellow"), soft_wrap=True)
            raise typer.Exit(EXIT_STOPPED)
        finally:
            task.cancel()
            asked.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)
