"""A receiver of OpenLineage events, as Marquez is one: it keeps what comes, and takes nothing that is malformed.

Every event and facet is put through the official client's own classes, found by the schema URL that it names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from uuid import UUID

from openlineage.client import event_v2, generated
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.stubs.server import ServedApp

Event = dict[str, Any]
_END = ("COMPLETE", "FAIL", "ABORT")


class LineageReceiver:
    """Serves `POST /api/v1/lineage`.

    Attributes:
        events: that it has taken, in their order.
        faults: what was wrong with others.
        refuse: what it answers to events that the function is true of; None takes them.
        asked: how many requests there were.
        tokens: Authorization headers.
    """

    def __init__(self) -> None:
        self.events = list[Event]()
        self.faults = list[str]()
        self.refuse: Callable[[Event], int | None] = lambda event: None
        self.asked = 0
        self.tokens = set[str]()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        route = Route("/api/v1/lineage", self._take, methods=["POST"])
        self._served = ServedApp(Starlette(routes=[route]))

    @property
    def url(self) -> str:
        return self._served.url

    async def __aenter__(self) -> LineageReceiver:
        await self._served.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._served.stop()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until something that came makes the condition true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def run_ended(self, job: str) -> None:
        await self.until(lambda: any(e["eventType"] in _END for e in self.of(job)))

    def of(self, job: str) -> list[Event]:
        return [event for event in self.events if event["job"]["name"] == job]

    async def _take(self, request: Request) -> Response:
        self.asked += 1
        self.tokens.add(request.headers.get("authorization", ""))
        event: Event = await request.json()
        status = self.refuse(event)
        if status is None:
            try:
                check_event(event)
                self.events.append(event)
            except (AssertionError, KeyError, TypeError, ValueError) as error:
                self.faults.append(repr(error))
                status = 422
        self._loop.call_soon_threadsafe(self._changed.set)
        return JSONResponse({}, status_code=status or 201)


def check_event(event: Event) -> None:
    """See that an event is one.

    Raises:
        AssertionError, KeyError, TypeError, ValueError: it is not.
    """
    assert event["eventType"] in ("START", *_END)
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert event["schemaURL"].endswith("#/$defs/RunEvent")
    assert event["producer"].startswith("urn:meta-workflows:")
    UUID(event["run"]["runId"])
    assert event["job"]["namespace"]
    assert event["job"]["name"]
    event_v2.RunEvent(
        eventTime=event["eventTime"],
        run=event_v2.Run(event["run"]["runId"]),
        job=event_v2.Job(event["job"]["namespace"], event["job"]["name"]),
    )
    for dataset in (*event.get("inputs", []), *event.get("outputs", [])):
        assert dataset["namespace"]
        assert dataset["name"]
    for name, facet in _facets(event):
        _check_facet(name, facet)


def _facets(event: Event) -> Iterator[tuple[str, Mapping[str, Any]]]:
    holders = [event["run"].get("facets", {}), event["job"].get("facets", {})]
    for dataset in event.get("inputs", []):
        holders += [dataset.get("facets", {}), dataset.get("inputFacets", {})]
    for dataset in event.get("outputs", []):
        holders += [dataset.get("facets", {}), dataset.get("outputFacets", {})]
    for holder in holders:
        yield from holder.items()


def _check_facet(name: str, facet: Mapping[str, Any]) -> None:
    assert facet["_producer"].startswith("urn:meta-workflows:"), name
    kind = facet["_schemaURL"].rpartition("/")[2]
    if kind in ("RunFacet", "JobFacet", "DatasetFacet"):
        assert name.startswith("meta_"), f"{name}: only facets of ours have no schema of their own"
        return
    _FACETS[kind](**{key: value for key, value in facet.items() if not key.startswith("_")})


def _known_facets() -> dict[str, Callable[..., object]]:
    found: dict[str, Callable[..., object]] = {}
    for module in iter_modules(generated.__path__):
        loaded = import_module(f"{generated.__name__}.{module.name}")
        found |= {name: value for name, value in vars(loaded).items() if name.endswith("Facet")}
    return found


_FACETS = _known_facets()
