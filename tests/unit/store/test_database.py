"""Connections to SQLite, as the pool treats them when tasks are cancelled."""

import asyncio
import threading
from pathlib import Path
from typing import Any, Protocol, cast

from aiosqlite import Connection
from sqlalchemy import text

from meta.store.database import Database, parse_url


class Driver(Protocol):
    def stop(self) -> asyncio.Future[Any] | None: ...

    async def close(self) -> None: ...


async def test_a_connection_that_was_stopped_can_be_closed_too(tmp_path: Path) -> None:
    database = Database(parse_url(f"sqlite+aiosqlite:///{tmp_path}/store.db"))
    async with database.engine.connect() as connection:
        await connection.execute(text("select 1"))
        raw = await connection.get_raw_connection()
        driver = cast("Driver", raw.driver_connection)
        closing = asyncio.create_task(driver.close())
        await asyncio.sleep(0)  # it waits for the driver's thread
        driver.stop()  # as SQLAlchemy does when the task that closes is cancelled
        await asyncio.wait_for(closing, 10)
        raw.detach()
    await database.close()


async def test_a_closed_store_has_no_thread_left_that_answers_to_the_loop(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    database = Database(parse_url(f"sqlite+aiosqlite:///{tmp_path}/store.db"))

    async def ask() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("select 1"))

    for steps in range(30):  # cancelled while it connects, asks and closes
        asking = asyncio.create_task(ask())
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
    await database.close()
    assert not [thread for thread in set(threading.enumerate()) - before if "sqlite" in thread.name]


def test_an_answer_for_a_loop_that_has_gone_ends_the_connection(tmp_path: Path) -> None:
    async def opened() -> Connection:
        database = Database(parse_url(f"sqlite+aiosqlite:///{tmp_path}/store.db"))
        async with database.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            raw.detach()
        assert isinstance(driver, Connection)
        return driver

    loop = asyncio.new_event_loop()
    driver = loop.run_until_complete(opened())
    answer: asyncio.Future[int] = loop.create_future()
    loop.close()
    driver._tx.put_nowait((answer, lambda: 1))  # pyright: ignore[reportPrivateUsage] -- as a statement under way
    driver._thread.join(10)  # pyright: ignore[reportPrivateUsage]
    assert not driver._thread.is_alive()  # pyright: ignore[reportPrivateUsage]
