"""The same client for code without asyncio: every call runs on a loop in a thread of its own.

with MetaClient("127.0.0.1:7400") as client:
    run = client.start("chain.yaml", {"learning_rate": 0.1})
    print(client.result(run.id))
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from meta.client.client import MetaClient as AsyncMetaClient
from meta.config import DEFAULT_GRPC

__all__ = ["MetaClient"]

P = ParamSpec("P")
T = TypeVar("T")


def _call(
    method: Callable[Concatenate[AsyncMetaClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[MetaClient, P], T]:
    def call(self: MetaClient, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(method(self.client, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


def _stream(
    method: Callable[Concatenate[AsyncMetaClient, P], AsyncGenerator[T]],
) -> Callable[Concatenate[MetaClient, P], Generator[T]]:
    def stream(self: MetaClient, *args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        items = method(self.client, *args, **kwargs)

        async def following() -> tuple[T] | None:  # StopAsyncIteration cannot leave a coroutine
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        try:
            while (item := self.run(following())) is not None:
                yield item[0]
        finally:
            self.run(items.aclose())

    stream.__name__, stream.__doc__ = method.__name__, method.__doc__
    return stream


class MetaClient:
    """See `meta.client.MetaClient`: the same arguments, calls and errors, but calls block.

    Safe to use from several threads.
    """

    def __init__(
        self, address: str = DEFAULT_GRPC, *, patience_s: float = 10.0, watch_patience_s: float = 120.0
    ) -> None:
        self.client = AsyncMetaClient(address, patience_s=patience_s, watch_patience_s=watch_patience_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="meta-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this client's loop and wait for it; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the connection and end the thread."""
        if self._loop.is_closed():
            return
        self.run(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    put_bundle = _call(AsyncMetaClient.put_bundle)
    publish = _call(AsyncMetaClient.publish)
    workflows = _call(AsyncMetaClient.workflows)
    validate = _call(AsyncMetaClient.validate)
    start = _call(AsyncMetaClient.start)
    plan = _call(AsyncMetaClient.plan)
    get = _call(AsyncMetaClient.get)
    list = _call(AsyncMetaClient.list)
    watch = _stream(AsyncMetaClient.watch)
    wait = _call(AsyncMetaClient.wait)
    result = _call(AsyncMetaClient.result)
    cancel = _call(AsyncMetaClient.cancel)
    retry = _call(AsyncMetaClient.retry)
    logs = _stream(AsyncMetaClient.logs)
    items = _stream(AsyncMetaClient.items)
    trace = _call(AsyncMetaClient.trace)
    engines = _call(AsyncMetaClient.engines)
    orphans = _stream(AsyncMetaClient.orphans)
    delete_workflow = _call(AsyncMetaClient.delete_workflow)
    events = _call(AsyncMetaClient.events)
    event = _call(AsyncMetaClient.event)
    replay = _stream(AsyncMetaClient.replay)
    discard = _call(AsyncMetaClient.discard)
    triggers = _call(AsyncMetaClient.triggers)
    decide = _call(AsyncMetaClient.decide)
    approvals = _stream(AsyncMetaClient.approvals)
    schedules = _call(AsyncMetaClient.schedules)
    pause_schedule = _call(AsyncMetaClient.pause_schedule)
    resume_schedule = _call(AsyncMetaClient.resume_schedule)
    fire_schedule = _call(AsyncMetaClient.fire_schedule)
    backfill = _call(AsyncMetaClient.backfill)
    backfills = _call(AsyncMetaClient.backfills)
    get_backfill = _call(AsyncMetaClient.get_backfill)
    watch_backfill = _stream(AsyncMetaClient.watch_backfill)
    pause_backfill = _call(AsyncMetaClient.pause_backfill)
    resume_backfill = _call(AsyncMetaClient.resume_backfill)
    cancel_backfill = _call(AsyncMetaClient.cancel_backfill)
