"""The workflow controller: passes over workflows, runs their pods, ends them, forgets them when their time is over.

Everything happens in one event loop, so a pass is never interrupted; pods are tasks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from meta.processes import start_mark
from meta.sandbox.argo.operator.context import PodRequest
from meta.sandbox.argo.operator.operation import finish_pod, mark_container, mark_workflow, operate
from meta.sandbox.argo.operator.rerun import rerun
from meta.sandbox.argo.pods.artifacts import remove_tree
from meta.sandbox.argo.pods.leftovers import kill_leftover
from meta.sandbox.argo.pods.logs import PodLog, PodLogs, log_path
from meta.sandbox.argo.pods.runner import PodResult, PodRunner
from meta.sandbox.argo.state.status import NodeType, Phase, Shutdown, now
from meta.sandbox.argo.state.store import ProcessRecord, Store
from meta.sandbox.argo.state.workflow import Workflow

_log = logging.getLogger(__name__)
LOST = "pod deleted"  # what the real controller writes when a pod went away with its node


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

    def __init__(self, store: Store, runner: PodRunner, data_dir: Path, max_concurrent_pods: int) -> None:
        """Make a controller that does nothing yet; `start` begins."""
        self._store, self._runner = store, runner
        self._folder = data_dir / "pods"
        self._slots = asyncio.Semaphore(max_concurrent_pods)
        self._limit = max_concurrent_pods
        self._pods: dict[tuple[str, str], _Pod] = {}
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._cleanups: set[asyncio.Task[None]] = set()
        self._closing = False

    def start(self) -> None:
        """Take up what an earlier server left: kill its processes, fail their nodes, go on with the rest."""
        begun = {(record.uid, record.node_id) for record in self._store.processes()}
        for record in self._store.processes():
            if kill_leftover(record):
                _log.warning("killed the leftover process group %d of node %s", record.pgid, record.node_id)
            self._store.forget_process(record.uid, record.node_id)
        for workflow in self._store.all():
            if workflow.status.phase.completed:
                self._schedule_ttl(workflow)
                continue
            lost = [
                node
                for node in workflow.status.nodes.values()
                if node.type is NodeType.POD and not node.fulfilled
                and (node.phase is Phase.RUNNING or (workflow.metadata.uid, node.id) in begun)
            ]  # fmt: skip
            for node in lost:
                finish_pod(workflow, node, now(), phase=Phase.ERROR, message=LOST, outputs=None)
            self.reconcile(workflow)

    async def close(self) -> None:
        """End every pod. Their nodes stay as they are, for the next start to fail them."""
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        pods = list(self._pods.values())
        for pod in pods:
            pod.end()
        await asyncio.gather(*(pod.task for pod in pods), *self._cleanups, return_exceptions=True)

    def submit(self, workflow: Workflow) -> None:
        """Keep a new workflow and begin it once the answer is on its way.

        Raises:
            NameTakenError: a workflow of that name exists.
        """
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

    def suspend(self, workflow: Workflow, *, suspended: bool) -> None:
        """Hold back new pods, or let them go on.

        Raises:
            CompletedError: it has ended.
        """
        if suspended and workflow.status.phase.completed:
            raise CompletedError(workflow)
        workflow.change_spec(suspend=True if suspended else None)
        self._changed_by_user(workflow)

    def retry(self, workflow: Workflow) -> None:
        """Run what failed again, in place.

        Raises:
            NotRetryableError: it has not failed.
        """
        rerun(workflow, now())
        self._cancel_timer(workflow, "ttl")
        self._changed_by_user(workflow)

    def _changed_by_user(self, workflow: Workflow) -> None:
        self._store.save(workflow)
        asyncio.get_running_loop().call_soon(self.reconcile, workflow)

    def delete(self, workflow: Workflow) -> None:
        """Take a workflow away; its processes end behind it, then its folder goes."""
        uid = workflow.metadata.uid
        self._store.remove(workflow)
        self._cancel_timer(workflow, "ttl")
        self._cancel_timer(workflow, "wake")
        pods = [pod for key, pod in self._pods.items() if key[0] == uid]
        for pod in pods:
            pod.end()

        async def clean_up() -> None:
            await asyncio.gather(*(pod.task for pod in pods), return_exceptions=True)
            await asyncio.to_thread(remove_tree, self._folder / uid)

        cleanup = asyncio.create_task(clean_up())
        self._cleanups.add(cleanup)
        cleanup.add_done_callback(self._cleanups.discard)

    def live_log(self, workflow: Workflow, node_id: str, container: str) -> PodLog | None:
        """The log of a container whose pod runs."""
        pod = self._pods.get((workflow.metadata.uid, node_id))
        return pod.logs.of(container) if pod is not None else None

    def log_path(self, workflow: Workflow, node_id: str, container: str) -> Path:
        return log_path(self._folder / workflow.metadata.uid / node_id, container)

    def reconcile(self, workflow: Workflow) -> None:
        """Bring a workflow as far as it goes now; saves it if that, or the caller, changed anything."""
        if self._closing or self._store.get(*workflow.key) is not workflow:
            return
        find = self._store.objects.finder(workflow.metadata.namespace)
        try:
            live = frozenset(key[1] for key in self._pods if key[0] == workflow.metadata.uid)
            outcome = operate(workflow, now(), live, find)
        except Exception as error:  # a fault of ours must end this workflow with its reason, not the server
            _log.exception("a pass over workflow %s failed", workflow.name)
            mark_workflow(workflow, Phase.ERROR, now(), f"{type(error).__name__}: {error}")
            outcome = operate(workflow, now(), find=find)
        for node_id, message in outcome.kills.items():
            self._kill(workflow, node_id, message)
        for request in outcome.pods.values():
            self._ensure(workflow, request)
        self._drop_stale(workflow)
        self._store.save(workflow)
        if workflow.status.phase.completed:
            self._cancel_timer(workflow, "wake")
            self._schedule_ttl(workflow)
        elif outcome.wake_at is not None:
            self._schedule(workflow, "wake", outcome.wake_at)

    def _ensure(self, workflow: Workflow, request: PodRequest) -> None:
        key = (workflow.metadata.uid, request.node_id)
        if key in self._pods:
            return
        node = workflow.status.nodes[request.node_id]
        if self._slots.locked():
            node.message = f"Unschedulable: the sandbox runs at most {self._limit} pods at once"
        folder = self._folder / key[0] / key[1]
        remove_tree(folder)
        logs = PodLogs(folder)
        task = asyncio.create_task(self._run(workflow, request, folder, logs), name=f"pod {request.pod_name}")
        self._pods[key] = _Pod(workflow, logs, task)
        task.add_done_callback(lambda done: self._gone(key, done))

    def _gone(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if key in self._pods and self._pods[key].task is task:
            workflow = self._pods.pop(key).workflow
            self.reconcile(workflow)  # the node may be wanted again: a retry that came while its task was ending
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a pod's task failed", exc_info=error)

    async def _run(self, workflow: Workflow, request: PodRequest, folder: Path, logs: PodLogs) -> None:
        uid, node_id = workflow.metadata.uid, request.node_id

        try:
            async with self._slots:
                result = await self._runner.run(
                    workflow, request, folder, logs, _Recorder(self._store, workflow, node_id)
                )
        except asyncio.CancelledError:
            pod = self._pods.get((uid, node_id))
            if self._closing or pod is None or pod.kill_message is None:
                raise
            result = PodResult(Phase.FAILED, pod.kill_message)
        except Exception as error:  # shown where the user looks: in the node
            _log.exception("pod %s failed in the sandbox itself", request.pod_name)
            result = PodResult(Phase.ERROR, f"{type(error).__name__}: {error}")
        finally:
            logs.close()
            if not self._closing:
                self._store.forget_process(uid, node_id)
        del self._pods[uid, node_id]  # before the pass, which may start the same node again
        node = workflow.status.nodes.get(node_id)
        if node is None or node.fulfilled or self._store.get(*workflow.key) is not workflow:
            return
        finish_pod(workflow, node, now(), phase=result.phase, message=result.message, outputs=result.outputs)
        self.reconcile(workflow)

    def _kill(self, workflow: Workflow, node_id: str, message: str) -> None:
        pod = self._pods.get((workflow.metadata.uid, node_id))
        if pod is not None:
            pod.end(message)

    def _drop_stale(self, workflow: Workflow) -> None:
        """Cancel the tasks of pods that ended before they began."""
        for (uid, node_id), pod in list(self._pods.items()):
            node = workflow.status.nodes.get(node_id)
            if uid == workflow.metadata.uid and (node is None or node.fulfilled):
                pod.end()

    def _schedule_ttl(self, workflow: Workflow) -> None:
        ttl, status = workflow.spec.ttl_strategy, workflow.status
        if ttl is None or status.finished_at is None:
            return
        specific = ttl.seconds_after_success if status.phase is Phase.SUCCEEDED else ttl.seconds_after_failure
        seconds = specific if specific is not None else ttl.seconds_after_completion
        if seconds is not None:
            self._schedule(workflow, "ttl", status.finished_at + timedelta(seconds=seconds))

    def _schedule(self, workflow: Workflow, kind: str, due: datetime) -> None:
        self._cancel_timer(workflow, kind)
        wait = max(0.0, (due - datetime.now(UTC)).total_seconds())
        action = self.reconcile if kind == "wake" else self._expire
        loop = asyncio.get_running_loop()
        self._timers[workflow.metadata.uid, kind] = loop.call_later(wait, action, workflow)

    def _cancel_timer(self, workflow: Workflow, kind: str) -> None:
        timer = self._timers.pop((workflow.metadata.uid, kind), None)
        if timer is not None:
            timer.cancel()

    def _expire(self, workflow: Workflow) -> None:
        if workflow.status.phase.completed and self._store.get(*workflow.key) is workflow:
            self.delete(workflow)
