"""Mutexes and semaphores: who holds them, who waits and in which order (workflow/sync).

A holder is a whole workflow (`namespace/name`) or one of its nodes (`namespace/name/node id`). Who waits longest among
those of the highest priority is let in first; a workflow's age counts, not the node's. The holders are written into
`status.synchronization`, from which `restore` finds them again after a restart.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from hera.workflows import models as m

from meta.sandbox.argo.state.workflow import Workflow
from meta.sandbox.kubernetes_objects import KubernetesObjects, MissingObjectError

Limit = Callable[[str, str], int]
_Key = tuple[str, str]
_SEMAPHORE, _MUTEX = "ConfigMap", "Mutex"


class LockError(Exception):
    """A lock cannot be had at all, in the controller's words."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first lock that is not to be had now, and what the controller says of it."""

    lock: str
    message: str


@dataclass
class Lock:
    """A mutex or semaphore in use.

    Attributes:
        name: `namespace/Mutex/name` or `namespace/ConfigMap/name/key`.
        limit: how many may hold it.
        holders: in the order they came.
        queue: who waits, first the next one.
    """

    name: str
    limit: int
    holders: list[str] = field(default_factory=list[str])
    queue: list[tuple[int, datetime, int, str]] = field(default_factory=list[tuple[int, datetime, int, str]])

    @property
    def waiting(self) -> list[str]:
        return [entry[-1] for entry in self.queue]

    def leave(self, holder: str) -> None:
        """Neither hold nor wait any more."""
        self.queue = [entry for entry in self.queue if entry[-1] != holder]
        self.holders = [other for other in self.holders if other != holder]

    def refusal(self, holder: str) -> str | None:
        """Why it cannot be had; None where it can, or is held already (checkAcquire)."""
        if holder in self.holders:
            return None
        first = self.queue[0][-1] if self.queue else holder
        if self.limit == 0:  # held since before a restart that found no limit
            return f"Failed to get semaphore limit for {self.name}"
        if len(self.holders) < self.limit and _same_turn(first, holder):
            return None
        return f"Waiting for {self.name} lock. Lock status: {self.limit - len(self.holders)}/{self.limit}"


def _same_turn(first: str, holder: str) -> bool:
    """A workflow's nodes share their workflow's place in the queue."""
    one, other = first.split("/"), holder.split("/")
    return len(one) == len(other) and one[:2] == other[:2]


def _no_limit(config_map: str, key: str) -> int:
    raise LockError(f"{config_map}/{key}")


@dataclass
class Locks:
    """All locks of a server.

    Attributes:
        limit_of: reads a semaphore's limit from a ConfigMap's key, or raises a LockError.
    """

    limit_of: Limit = _no_limit
    _locks: dict[str, Lock] = field(default_factory=dict[str, Lock])
    _known: dict[_Key, dict[tuple[str, str], None]] = field(default_factory=dict[_Key, dict[tuple[str, str], None]])
    _woken: dict[_Key, None] = field(default_factory=dict[_Key, None])
    _order: Iterator[int] = field(default_factory=count)

    def acquire(self, workflow: Workflow, wanted: m.Synchronization, node_id: str = "") -> Refusal | None:
        """Take all locks, or none and queue for each; what was taken before stays taken (TryAcquire).

        Args:
            workflow: its status is kept true.
            wanted: the locks.
            node_id: the node that wants them; empty for the workflow itself.

        Returns:
            What it has to wait for; None when it holds them all.

        Raises:
            LockError: a reference that cannot be read, or a limit that is not there.
        """
        names, holder = _names(wanted, workflow.metadata.namespace), _holder(workflow, node_id)
        locks = [self._open(name, workflow, holder) for name in names]
        refusals = [Refusal(lock.name, why) for lock in locks if (why := lock.refusal(holder)) is not None]
        status = _status(workflow)
        for lock in locks:
            if refusals:
                self._let_the_first_know(lock, holder)
                _note_waiting(status, lock)
            elif holder not in lock.holders:
                lock.leave(holder)
                lock.holders.append(holder)
                _note_holding(status, lock.name, holder)
                self._notify(lock)
        return refusals[0] if refusals else None

    def _open(self, name: str, workflow: Workflow, holder: str) -> Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = Lock(name, self._limit(name))
            if lock.limit == 0:
                raise LockError(f"failed to initialize semaphore {name} with limit")
            self._locks[name] = lock
        if holder not in (*lock.holders, *lock.waiting):
            age = workflow.metadata.created
            self._note(workflow, name, holder)
            insort(lock.queue, (-(workflow.spec.priority or 0), age, next(self._order), holder))
        return lock

    def _limit(self, name: str) -> int:
        _, kind, *where = name.split("/")
        if kind == _MUTEX:
            return 1
        try:
            return self.limit_of(where[0], where[1])
        except LockError:  # as in the controller, which logs the reason and goes on with 0
            return 0

    def _let_the_first_know(self, lock: Lock, holder: str) -> None:
        first = lock.waiting[0] if lock.queue else holder
        if holder not in lock.holders and len(lock.holders) < lock.limit and not _same_turn(first, holder):
            self._wake(first)

    def _notify(self, lock: Lock) -> None:
        for holder in lock.waiting[: max(0, lock.limit - len(lock.holders))]:
            self._wake(holder)

    def _wake(self, holder: str) -> None:
        namespace, name = holder.split("/")[:2]
        self._woken[namespace, name] = None

    def take_woken(self) -> list[_Key]:
        """Namespaces and names of the workflows whose turn may have come; each is told once."""
        woken = list(self._woken)
        self._woken.clear()
        return woken

    def settle(self, workflow: Workflow) -> None:
        """Give back what ended nodes hold or wait for, and everything once the workflow has ended (Release)."""
        status = workflow.status
        if status.synchronization is None:
            return
        if status.phase.completed:
            self.forget(workflow)
            return
        for name, holder in list(self._known.get(workflow.key, {})):
            node_id = holder.split("/")[2:]
            if node_id and ((node := status.nodes.get(node_id[0])) is None or node.fulfilled):
                self._leave(workflow, name, holder)
                _note_released(status.synchronization, name, holder)

    def forget(self, workflow: Workflow) -> None:
        """Give back everything of a workflow that has ended or is deleted (ReleaseAll)."""
        for name, holder in list(self._known.get(workflow.key, {})):
            self._leave(workflow, name, holder)
        workflow.status.synchronization = None
        for node in workflow.status.nodes.values():
            node.synchronization_status = None

    def _note(self, workflow: Workflow, name: str, holder: str) -> None:
        self._known.setdefault(workflow.key, {})[name, holder] = None

    def _leave(self, workflow: Workflow, name: str, holder: str) -> None:
        known, lock = self._known[workflow.key], self._locks[name]
        del known[name, holder]
        if not known:
            del self._known[workflow.key]
        lock.leave(holder)
        self._notify(lock)  # also when it only waited: it may have stood before those who could go
        if not lock.holders and not lock.queue:
            del self._locks[name]

    def restore(self, workflow: Workflow) -> None:
        """Take up what a workflow held when the server ended, whatever the limit is now (Initialize)."""
        status = workflow.status.synchronization or m.SynchronizationStatus()
        held: list[tuple[str, str]] = []
        for mutex in (status.mutex.holding if status.mutex else None) or []:
            held.append((mutex.mutex or "", mutex.holder or ""))
        for semaphore in (status.semaphore.holding if status.semaphore else None) or []:
            held += [(semaphore.semaphore or "", holder) for holder in semaphore.holders or []]
        for name, holder in held:
            lock = self._locks.setdefault(name, Lock(name, self._limit(name)))
            if holder not in lock.holders:
                lock.holders.append(holder)
                self._note(workflow, name, holder)


def semaphore_limits(objects: KubernetesObjects) -> Limit:
    """Limits from ConfigMaps; there is one namespace of them."""

    def limit_of(config_map: str, key: str) -> int:
        reference = m.ConfigMapKeySelector(name=config_map, key=key)
        try:
            return int((objects.value("ConfigMap", reference) or b"").decode())
        except (MissingObjectError, ValueError) as error:
            raise LockError(str(error)) from error

    return limit_of


def _names(wanted: m.Synchronization, namespace: str) -> list[str]:
    items: list[m.SemaphoreRef | m.Mutex] = [*(wanted.semaphores or []), *(wanted.mutexes or [])]
    names: list[str] = []
    for item in items:
        if items.count(item) > 1:
            raise LockError("requested configuration is invalid: duplicate synchronization item found")
        if isinstance(item, m.Mutex):
            names.append(f"{item.namespace or namespace}/{_MUTEX}/{item.name}")
        elif item.config_map_key_ref is None:
            raise LockError(
                "requested configuration is invalid: cannot get LockName for a Semaphore without a ConfigMapRef or "
                "Database"
            )
        else:
            reference = item.config_map_key_ref
            names.append(f"{item.namespace or namespace}/{_SEMAPHORE}/{reference.name}/{reference.key}")
    return list(dict.fromkeys(names))  # one namespace written out and left out is one lock


def _holder(workflow: Workflow, node_id: str) -> str:
    return "/".join(filter(None, (*workflow.key, node_id)))


def _status(workflow: Workflow) -> m.SynchronizationStatus:
    if workflow.status.synchronization is None:
        workflow.status.synchronization = m.SynchronizationStatus()
    return workflow.status.synchronization


def _is_mutex(name: str) -> bool:
    return name.split("/")[1] == _MUTEX


def _note_waiting(status: m.SynchronizationStatus, lock: Lock) -> None:
    if _is_mutex(lock.name):
        status.mutex = status.mutex or m.MutexStatus()
        if lock.holders:
            fresh = m.MutexHolding(mutex=lock.name, holder=lock.holders[0])
            others = [entry for entry in status.mutex.waiting or [] if entry.mutex != lock.name]
            status.mutex.waiting = [*others, fresh]
        return
    status.semaphore = status.semaphore or m.SemaphoreStatus()
    others = [entry for entry in status.semaphore.waiting or [] if entry.semaphore != lock.name]
    status.semaphore.waiting = [*others, m.SemaphoreHolding(semaphore=lock.name, holders=list(lock.holders) or None)]


def _note_holding(status: m.SynchronizationStatus, name: str, holder: str) -> None:
    if _is_mutex(name):
        status.mutex = status.mutex or m.MutexStatus()
        others = [entry for entry in status.mutex.holding or [] if entry.mutex != name]
        status.mutex.holding = [*others, m.MutexHolding(mutex=name, holder=holder)]
        return
    status.semaphore = status.semaphore or m.SemaphoreStatus()
    held = [h for entry in status.semaphore.holding or [] if entry.semaphore == name for h in entry.holders or []]
    others = [entry for entry in status.semaphore.holding or [] if entry.semaphore != name]
    status.semaphore.holding = [*others, m.SemaphoreHolding(semaphore=name, holders=[*held, holder])]
    waiting = [entry for entry in status.semaphore.waiting or [] if entry.semaphore != name or entry.holders]
    status.semaphore.waiting = waiting or None


def _note_released(status: m.SynchronizationStatus, name: str, holder: str) -> None:
    if status.mutex is not None:
        left = [h for h in status.mutex.holding or [] if (h.mutex, h.holder) != (name, holder)]
        status.mutex.holding = left or None
    for entry in (status.semaphore.holding if status.semaphore else None) or []:
        if entry.semaphore == name:  # the controller keeps the entry, without holders
            entry.holders = [h for h in entry.holders or [] if h != holder] or None
