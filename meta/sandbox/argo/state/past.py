"""The store as it was a while ago, for lists that lag behind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from meta.sandbox.argo.state.store import Store
from meta.sandbox.argo.state.workflow import Workflow

_HORIZON_S = 120.0
_AS_OF: ContextVar[float | None] = ContextVar("as_of", default=None)


@contextmanager
def as_of(moment: float | None) -> Generator[None]:
    token = _AS_OF.set(moment)
    try:
        yield
    finally:
        _AS_OF.reset(token)


@dataclass(frozen=True, slots=True)
class _Past:
    """A workflow (None: gone) and the server's resource version at a moment of the monotonic clock, in seconds."""

    moment: float
    version: int
    key: tuple[str, str]
    body: str | None


class ListedStore(Store):
    """A store that a list can see as it was; the past is kept only once a rule asks for it."""

    def __init__(self, path: Path, *, archive: bool = True) -> None:
        super().__init__(path, archive=archive)
        self._past: deque[_Past] | None = None
        self._before: dict[tuple[str, str], str] = {}
        self._version_before = 0

    def remember(self) -> None:
        """Keep the past from now on."""
        if self._past is None:
            self._past = deque()
            self._before = {workflow.key: workflow.to_json() for workflow in super().all()}
            self._version_before = super().resource_version

    def note(self, namespace: str, name: str) -> None:
        """A workflow has changed."""
        if self._past is None:
            return
        workflow, now = self.get(namespace, name), time.monotonic()
        body = None if workflow is None else workflow.to_json()
        self._past.append(_Past(now, super().resource_version, (namespace, name), body))
        while self._past and self._past[0].moment < now - _HORIZON_S:
            self._apply(self._before, self._past[0])
            self._version_before = self._past.popleft().version

    @staticmethod
    def _apply(state: dict[tuple[str, str], str], change: _Past) -> None:
        if change.body is None:
            state.pop(change.key, None)
        else:
            state[change.key] = change.body

    @property
    def resource_version(self) -> int:
        moment = _AS_OF.get()
        if moment is None or self._past is None:
            return super().resource_version
        return max((past.version for past in self._past if past.moment <= moment), default=self._version_before)

    def all(self, namespace: str | None = None) -> list[Workflow]:
        moment = _AS_OF.get()
        if moment is None or self._past is None:
            return super().all(namespace)
        state = dict(self._before)
        for past in self._past:
            if past.moment <= moment:
                self._apply(state, past)
        found = (Workflow.from_json(body) for body in state.values())
        return [workflow for workflow in found if namespace in (None, workflow.metadata.namespace)]
