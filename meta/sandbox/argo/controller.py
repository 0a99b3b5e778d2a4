"""The workflow controller: passes over workflows, runs their pods, ends them, forgets them when their time is over.

Everything happens in one event loop, so a pass is never interrupted; pods are tasks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from hera.workflows import models as m

from meta.processes import start_mark
from meta.sandbox.argo.http_templates import run_http
from meta.sandbox.argo.operator.context import PodRequest
from meta.sandbox.argo.operator.operation import finish_pod, mark_container, mark_workflow, operate
from meta.sandbox.argo.operator.rerun import RetryOptions, rerun
from meta.sandbox.argo.operator.shared import Shared
from meta.sandbox.argo.pods.artifacts import RepositoryError, remove_tree
from meta.sandbox.argo.pods.leftovers import kill_leftover
from meta.sandbox.argo.pods.logs import PodLog, PodLogs, log_path
from meta.sandbox.argo.pods.runner import PodResult, PodRunner
from meta.sandbox.argo.state.status import NodeType, Phase, Shutdown, now
from meta.sandbox.argo.state.store import ProcessRecord, Store
from meta.sandbox.argo.state.workflow import Workflow
from meta.sandbox.argo.timers import Due, Timers

_log = logging.getLogger(__name__)
LOST = "pod deleted"  # what the real controller writes when a pod went away with its node


def _turn(workflow: Workflow) -> tuple[int, datetime]:
    """Those of the highest priority first, then the oldest: in the order in which locks are given."""
    return -(workflow.spec.priority or 0), workflow.metadata.created


class CompletedError(Exception):
    """A shutdown of a workflow that has ended."""

    def __init__(self, workflow: Workflow) -> None:
        super().__init__(
            f'cannot shutdown a completed workflow: workflow: "{workflow.name}", '
            f'namespace: "{workflow.metadata.namespace}"'
        )


@dataclass(slots=True)
class _Pod:
    workflow: Workflow
    logs: PodLogs
    task: asyncio.Task[None]
    ending: bool = False
    kill_message: str | None = None

    def end(self, message: str | None = None) -> None:
        """Cancel the task, once: a second cancellation would break off the end of the processes."""
        if not self.ending:
            self.ending, self.kill_message = True, message
            self.task.cancel()


class Resources(Protocol):
    """Runs resource templates, which are tasks of the server itself."""

    async def run(self, workflow: Workflow, request: PodRequest, running: Callable[[], None]) -> PodResult:
        """Run one; `running` is called when it has begun."""
        ...

    def owner_gone(self, uid: str) -> None:
        """Delete what that object owned."""
        ...


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Writes down a pod's process before and after its start, so that what may have begun is not begun again."""

    store: Store
    workflow: Workflow
    node_id: str

    def starting(self) -> None:
        self.store.record_process(ProcessRecord(self.workflow.metadata.uid, self.node_id, 0, ""))

    def started(self, pgid: int) -> None:
        self.store.record_process(ProcessRecord(self.workflow.metadata.uid, self.node_id, pgid, start_mark(pgid)))
        self.running()

    def running(self) -> None:
        node = self.workflow.status.nodes.get(self.node_id)
        if node is not None and not node.fulfilled:
            node.phase, node.message, node.host_node_name = Phase.RUNNING, None, socket.gethostname()
            self.workflow.status.set_condition("PodRunning", "True")
            self.store.save(self.workflow)

    def container(self, name: str, phase: Phase, message: str | None = None) -> None:
        mark_container(self.workflow, self.node_id, name, now(), phase=phase, message=message)
        self.store.save(self.workflow)


class Controller:
    """Drives every workflow of a store."""

    def __init__(
        self, store: Store, runner: PodRunner, data_dir: Path, max_concurrent_pods: int, *,
        keep: timedelta | None = None, shared: Shared | None = None,
    ) -> None:  # fmt: skip
        """Make a controller that does nothing yet; `start` begins.

        Args:
            store: of the workflows.
            runner: of their pods.
            data_dir: pods have their folders in it.
            max_concurrent_pods: the others wait, first come, first served.
            keep: how long finished workflows are kept that have no `ttlStrategy`; None for ever.
            shared: locks and caches.
        """
        self._shared = shared or Shared()
        self._store, self._runner = store, runner
        self._folder = data_dir / "pods"
        self._slots = asyncio.Semaphore(max_concurrent_pods)
        self._limit = max_concurrent_pods
        self._keep = keep
        self._pods: defaultdict[str, dict[str, _Pod]] = defaultdict(dict)  # by workflow's uid and node's id
        self._resources: Resources | None = None
        self._timers = Timers()
        self._cleanups: set[asyncio.Task[None]] = set()
        self._closing = False

    def attach(self, resources: Resources) -> None:
        """Have resource templates run by `resources`; before `start`."""
        self._resources = resources

    def start(self) -> None:
        """Take up what an earlier server left: kill its processes, fail their nodes, go on with the rest."""
        begun: defaultdict[str, dict[str, ProcessRecord]] = defaultdict(dict)
        for record in self._store.processes():
            if kill_leftover(record):
                _log.warning("killed the leftover process group %d of node %s", record.pgid, record.node_id)
            begun[record.uid][record.node_id] = record
        going_on = self._resources_going_on()
        workflows = sorted(self._store.all(), key=_turn)
        for workflow in workflows:
            if not workflow.status.phase.completed:
                self._shared.locks.restore(workflow)  # all, before anybody asks for a lock
        for workflow in workflows:
            records = begun.pop(workflow.metadata.uid, {})
            if workflow.status.phase.completed:
                self._store.save_ended(workflow)  # its server may have died before it was archived
                self._schedule_removal(workflow)
            else:
                self._take_up(workflow, records.keys(), going_on)
            self._forget(records)  # once it is written what became of them: this start may be cut short too
        for records in begun.values():
            self._forget(records)
        self._sweep()

    def _resources_going_on(self) -> set[str]:
        """Ids of the nodes of resource templates that the last server had begun: they had no process to lose."""
        live = {
            (workflow.metadata.uid, node.id)
            for workflow in self._store.all()
            for node in workflow.status.nodes.values()
            if not node.fulfilled
        }
        known = set(self._store.actions.nodes())
        for action in known - live:
            self._store.actions.forget(*action)
        return {node_id for _, node_id in known & live}

    def _take_up(self, workflow: Workflow, begun: Collection[str], going_on: Collection[str]) -> None:
        lost = [
            node
            for node in workflow.status.nodes.values()
            if node.type is NodeType.POD and not node.fulfilled and node.id not in going_on
            and (node.phase is Phase.RUNNING or node.id in begun)
        ]  # fmt: skip
        for node in lost:
            finish_pod(workflow, node, now(), phase=Phase.ERROR, message=LOST, outputs=None)
        self.reconcile(workflow)

    def _forget(self, records: Mapping[str, ProcessRecord]) -> None:
        for record in records.values():
            self._store.forget_process(record.uid, record.node_id)

    def _sweep(self) -> None:
        """Remove folders of workflows that are gone: a server that is killed while it deletes leaves some."""
        known = {workflow.metadata.uid for workflow in self._store.all()}
        for folder in self._folder.iterdir() if self._folder.exists() else ():
            if folder.name not in known:
                self._clean_up(folder, ())

    async def close(self) -> None:
        """End every pod. Their nodes stay as they are, for the next start to fail them."""
        self._closing = True
        self._timers.close()
        pods = [pod for pods in self._pods.values() for pod in pods.values()]
        for pod in pods:
            pod.end()
        await asyncio.gather(*(pod.task for pod in pods), *self._cleanups, return_exceptions=True)

    def submit(self, workflow: Workflow) -> None:
        """Keep a new workflow and begin it once the answer is on its way.

        Raises:
            NameTakenError: a workflow of that name exists.
        """
        try:
            if (reference := workflow.spec.artifact_repository_ref) is not None:
                status = self._runner.repository.status(reference, workflow.metadata.namespace)
                workflow.status.artifact_repository_ref = status
        except RepositoryError as error:
            mark_workflow(workflow, Phase.ERROR, now(), f"failed to resolve artifact repository: {error}")
        self._store.add(workflow)
        asyncio.get_running_loop().call_soon(self.reconcile, workflow)

    def shut_down(self, workflow: Workflow, strategy: Shutdown) -> None:
        """Set `spec.shutdown`; pods are ended, the workflow follows them.

        Raises:
            CompletedError: it has ended.
        """
        if workflow.status.phase.completed:
            raise CompletedError(workflow)
        workflow.change_spec(shutdown=str(strategy))
        self._changed_by_user(workflow)

    def change(self, workflow: Workflow, change: Callable[[], object]) -> None:
        """Change a workflow as a user asks, then go on with it.

        Raises:
            Exception: what `change` raises; nothing is kept then.
        """
        change()
        self._timers.cancel(workflow, Due.REMOVAL)
        self._changed_by_user(workflow)

    def retry(self, workflow: Workflow, options: RetryOptions | None = None) -> None:
        """Run what failed again, in place.

        Raises:
            NotRetryableError: it has not failed.
            SuspendError: not a selector of nodes.
            ValueError: not a parameter.
        """
        self.change(workflow, lambda: rerun(workflow, now(), options))

    def _changed_by_user(self, workflow: Workflow) -> None:
        self._store.save(workflow)
        asyncio.get_running_loop().call_soon(self.reconcile, workflow)

    def delete(self, workflow: Workflow) -> None:
        """Take a workflow away; its processes end behind it, then its folder goes."""
        uid = workflow.metadata.uid
        self._store.remove(workflow)
        self._shared.locks.forget(workflow)
        self._wake()
        self._timers.cancel(workflow)
        pods = list(self._pods_of(workflow).values())
        for pod in pods:
            pod.end()
        self._clean_up(self._folder / uid, pods)
        if self._resources is not None:
            self._resources.owner_gone(uid)

    def edit(self, workflow: Workflow, change: Callable[[], object]) -> None:
        """Change labels, annotations, `suspend` or `shutdown` of a workflow, ended or not; its removal stays as due."""
        change()
        self._changed_by_user(workflow)

    def _clean_up(self, folder: Path, pods: Collection[_Pod]) -> None:
        async def clean_up() -> None:
            await asyncio.gather(*(pod.task for pod in pods), return_exceptions=True)
            await asyncio.to_thread(remove_tree, folder)

        cleanup = asyncio.create_task(clean_up())
        self._cleanups.add(cleanup)
        cleanup.add_done_callback(self._cleanups.discard)

    def live_log(self, workflow: Workflow, node_id: str, container: str) -> PodLog | None:
        """The log of a container whose pod runs."""
        pod = self._pods_of(workflow).get(node_id)
        return pod.logs.of(container) if pod is not None else None

    def log_path(self, workflow: Workflow, node_id: str, container: str) -> Path:
        return log_path(self._folder / workflow.metadata.uid / node_id, container)

    def reconcile(self, workflow: Workflow) -> None:
        """Bring a workflow as far as it goes now; saves it if that, or the caller, changed anything."""
        if self._closing or self._store.get(*workflow.key) is not workflow:
            return
        find = self._store.objects.finder(workflow.metadata.namespace)
        try:
            outcome = operate(workflow, now(), frozenset(self._pods_of(workflow)), find, self._shared)
        except Exception as error:  # a fault of ours must end this workflow with its reason, not the server
            _log.exception("a pass over workflow %s failed", workflow.name)
            mark_workflow(workflow, Phase.ERROR, now(), f"{type(error).__name__}: {error}")
            outcome = operate(workflow, now(), find=find, shared=self._shared)
        self._wake()
        for node_id, message in outcome.kills.items():
            self._kill(workflow, node_id, message)
        for request in outcome.pods.values():
            self._ensure(workflow, request)
        self._drop_stale(workflow)
        if workflow.status.phase.completed:
            self._store.save_ended(workflow)
            self._timers.cancel(workflow, Due.PASS)
            self._schedule_removal(workflow)
            return
        self._store.save(workflow)
        if outcome.wake_at is not None:
            self._timers.set(workflow, Due.PASS, outcome.wake_at, self.reconcile)

    def _wake(self) -> None:
        """Pass over workflows that may have a lock now."""
        for key in self._shared.locks.take_woken():
            if (workflow := self._store.get(*key)) is not None:
                asyncio.get_running_loop().call_soon(self.reconcile, workflow)

    def _pods_of(self, workflow: Workflow) -> Mapping[str, _Pod]:
        return self._pods.get(workflow.metadata.uid, {})

    def _ensure(self, workflow: Workflow, request: PodRequest) -> None:
        if request.node_id in self._pods_of(workflow):
            return
        node = workflow.status.nodes[request.node_id]
        if self._slots.locked() and request.template.resource is None and request.template.http is None:
            node.message = f"Unschedulable: the sandbox runs at most {self._limit} pods at once"
        folder = self._folder / workflow.metadata.uid / request.node_id
        remove_tree(folder)
        logs = PodLogs(folder)
        task = asyncio.create_task(self._run(workflow, request, folder, logs), name=f"pod {request.pod_name}")
        self._pods[workflow.metadata.uid][request.node_id] = _Pod(workflow, logs, task)
        task.add_done_callback(lambda done: self._gone(workflow, request.node_id, done))

    def _drop(self, workflow: Workflow, node_id: str) -> None:
        pods = self._pods[workflow.metadata.uid]
        del pods[node_id]
        if not pods:
            del self._pods[workflow.metadata.uid]

    def _gone(self, workflow: Workflow, node_id: str, task: asyncio.Task[None]) -> None:
        pod = self._pods_of(workflow).get(node_id)
        if pod is not None and pod.task is task:
            self._drop(workflow, node_id)
            self.reconcile(workflow)  # the node may be wanted again: a retry that came while its task was ending
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a pod's task failed", exc_info=error)

    async def _run(self, workflow: Workflow, request: PodRequest, folder: Path, logs: PodLogs) -> None:
        uid, node_id = workflow.metadata.uid, request.node_id

        try:
            recorder = _Recorder(self._store, workflow, node_id)
            if request.template.resource is not None:
                assert self._resources is not None  # attached before the start
                result = await self._resources.run(workflow, request, recorder.running)
            elif request.template.http is not None:
                result = await run_http(request.template.http, self._runner.objects)
            else:
                async with self._slots:
                    result = await self._runner.run(workflow, request, folder, logs, recorder)
        except asyncio.CancelledError:
            pod = self._pods_of(workflow).get(node_id)
            if self._closing or pod is None or pod.kill_message is None:
                if not self._closing:
                    self._store.actions.forget(uid, node_id)
                raise
            result = PodResult(Phase.FAILED, pod.kill_message)
        except Exception as error:  # shown where the user looks: in the node
            _log.exception("pod %s failed in the sandbox itself", request.pod_name)
            result = PodResult(Phase.ERROR, f"{type(error).__name__}: {error}")
        finally:
            logs.close()
            if not self._closing:
                self._store.forget_process(uid, node_id)
        self._drop(workflow, node_id)  # before the pass, which may start the same node again
        node = workflow.status.nodes.get(node_id)
        if node is not None and not node.fulfilled and self._store.get(*workflow.key) is workflow:
            finish_pod(
                workflow, node, now(), phase=result.phase, message=result.message, outputs=result.outputs,
                shared=self._shared,
            )  # fmt: skip
            self.reconcile(workflow)
        self._store.actions.forget(uid, node_id)  # last: a server that dies before goes on with it

    def _kill(self, workflow: Workflow, node_id: str, message: str) -> None:
        pod = self._pods_of(workflow).get(node_id)
        if pod is not None:
            pod.end(message)

    def _drop_stale(self, workflow: Workflow) -> None:
        """Cancel the tasks of pods that ended before they began."""
        for node_id, pod in self._pods_of(workflow).items():
            node = workflow.status.nodes.get(node_id)
            if node is None or node.fulfilled:
                pod.end()

    def _schedule_removal(self, workflow: Workflow) -> None:
        ttl, status = workflow.spec.ttl_strategy or m.TTLStrategy(), workflow.status
        if status.finished_at is None:
            return
        specific = ttl.seconds_after_success if status.phase is Phase.SUCCEEDED else ttl.seconds_after_failure
        seconds = specific if specific is not None else ttl.seconds_after_completion
        keep = self._keep if seconds is None else timedelta(seconds=seconds)
        if keep is not None:
            self._timers.set(workflow, Due.REMOVAL, status.finished_at + keep, self._expire)

    def _expire(self, workflow: Workflow) -> None:
        if workflow.status.phase.completed and self._store.get(*workflow.key) is workflow:
            self.delete(workflow)
