"""One resource template from start to end: kubectl's action, the wait for its conditions, its outputs (ExecResource).

It is a task of the server, not a process: it takes none of the places that `--max-concurrent-pods` counts, so that
workflows that wait for workflows cannot block each other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from hera.workflows import models as m

from meta.sandbox.argo.api.errors import ApiError
from meta.sandbox.argo.api.selectors import label_selector
from meta.sandbox.argo.operator.context import PodRequest
from meta.sandbox.argo.pods.container import EXECUTOR_FAILED, Ending
from meta.sandbox.argo.pods.pod import MAIN
from meta.sandbox.argo.pods.runner import PodResult
from meta.sandbox.argo.resources.cluster import Cluster, new_uid
from meta.sandbox.argo.resources.command import Command, read_command
from meta.sandbox.argo.resources.conditions import is_met, read_condition
from meta.sandbox.argo.resources.jsonpath import JsonPathError, evaluate_json_path
from meta.sandbox.argo.resources.kinds import KINDS, KubectlError, ResourceKind
from meta.sandbox.argo.resources.patches import PatchError, json_patch, merge_patch, three_way
from meta.sandbox.argo.state.actions import Action
from meta.sandbox.argo.state.status import JsonObject, Phase, now
from meta.sandbox.argo.state.store import Store
from meta.sandbox.argo.state.workflow import Workflow

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LOOK_AGAIN_S = 1.0  # at objects whose changes make no events; the real executor looks every five seconds
_DELAY_PER_WAIT_S = 0.001  # the more of them wait, the more events share one look
_NOWHERE = "-"  # in an action's record: it was of no object


@dataclass(frozen=True, slots=True)
class _Target:
    kind: ResourceKind
    name: str


@dataclass(slots=True)
class ResourceRunner:
    """Runs the resource templates of one server."""

    cluster: Cluster
    store: Store
    _waiting: int = 0

    async def run(self, workflow: Workflow, request: PodRequest, running: Callable[[], None]) -> PodResult:
        """Run one; after a restart of the server it goes on where it was.

        Args:
            workflow: to which it belongs.
            request: what to run.
            running: called when it has begun.
        """
        try:
            async with asyncio.timeout(_time_left(workflow, request)):
                outputs = await self._run(workflow, request, running)
        except TimeoutError:
            return PodResult(Phase.FAILED, "Pod was active on the node longer than the specified deadline")
        except (KubectlError, JsonPathError) as error:
            ending = Ending(EXECUTOR_FAILED, detail=str(error))
            outputs = m.Outputs(exit_code=str(ending.code))
            return PodResult(Phase.FAILED, f"{MAIN}: {ending.message}", outputs)
        return PodResult(Phase.SUCCEEDED, None, outputs)

    def owner_gone(self, uid: str) -> None:
        self.cluster.owner_gone(uid)

    async def _run(self, workflow: Workflow, request: PodRequest, running: Callable[[], None]) -> m.Outputs:
        template, uid = request.template, workflow.metadata.uid
        resource = template.resource
        assert resource is not None  # requests of other templates go to the pods' runner
        action = begun = self.store.actions.get(uid, request.node_id)
        if action is None:
            action = Action(new_uid())
            self.store.actions.put(uid, request.node_id, action)
        running()
        asked = (template.outputs.parameters if template.outputs else None) or []
        if resource.action == "delete" and (resource.success_condition or resource.failure_condition or asked):
            raise KubectlError("successCondition, failureCondition and outputs are not supported for delete action")
        if not action.done:
            target = self._act(workflow, resource, action.made, again=begun is not None)
            done = (target.kind.title, target.name) if target is not None else (_NOWHERE, "")
            self.store.actions.put(uid, request.node_id, Action(action.made, *done))
        else:
            target = None if action.kind == _NOWHERE else _Target(KINDS[action.kind], action.name)
        if target is not None:
            self._waiting += 1
            try:
                await self._wait(resource, target)
            finally:
                self._waiting -= 1
        return self._outputs(asked, target)

    def _act(self, workflow: Workflow, resource: m.ResourceTemplate, made: str, *, again: bool) -> _Target | None:
        """Do the action.

        Args:
            workflow: whose it is.
            resource: what to do.
            made: the identity that a created object gets.
            again: a server that was killed may have done it and not have known any more.

        Returns:
            The object that it was done to; None where there is none to wait for.
        """
        try:
            command = read_command(resource, workflow.metadata.namespace)
            owners = [_owner(workflow)] if resource.set_owner_reference else []
            if owners and not isinstance(command.body, dict):
                raise KubectlError("setOwnerReference needs a manifest that is an object")
            name = self.cluster.with_uid(command.kind, made) if again else None
            name = name or self._do(command, made, owners)
        except KubectlError as error:
            raise KubectlError(f"no more retries {error}") from error
        return None if name is None else _Target(command.kind, name)

    def _do(self, command: Command, made: str, owners: list[JsonObject]) -> str | None:
        if command.action == "delete":
            self._delete(command)
            return None
        if command.action == "create":
            return self.cluster.create(command.kind, _manifest(command), made, owners)
        if len(command.names) != 1:
            raise KubectlError(
                "Kind and name are both required but at least one of them is missing from the manifest"
            )  # fmt: skip
        (name,) = command.names
        found = self.cluster.get(command.kind, name)
        if command.action == "apply":
            return self._apply(command, name, found, made, owners)
        if found is None:
            if command.action == "get" and command.flags.ignore_missing:
                return None
            raise command.kind.missing(name)
        if command.action == "replace":
            _refuse_new_owners(owners)
            self.cluster.change(command.kind, name, _manifest(command))
        elif command.action == "patch":
            _refuse_new_owners(owners)
            self.cluster.change(command.kind, name, _patched(command, found))
        return name

    def _delete(self, command: Command) -> None:
        names = command.names
        if command.flags.selector is not None:
            try:
                names = self.cluster.names(command.kind, label_selector(command.flags.selector))
            except ApiError as error:
                raise KubectlError(f"error: {error.message}") from error
        for name in names:
            self.cluster.delete(command.kind, name)

    def _apply(self, command: Command, name: str, found: JsonObject | None, made: str, owners: list[JsonObject]) -> str:
        manifest = _manifest(command)
        metadata = cast("JsonObject", manifest["metadata"])
        applied = json.dumps(manifest, separators=(",", ":"), sort_keys=True) + "\n"
        annotations = cast("JsonObject", metadata.get("annotations") or {})
        wanted: JsonObject = {**manifest, "metadata": {**metadata, "annotations": {**annotations, _APPLIED: applied}}}
        if found is None:
            return self.cluster.create(command.kind, wanted, made, owners)
        _refuse_new_owners(owners)
        live = cast("JsonObject", cast("JsonObject", found["metadata"]).get("annotations") or {})
        before = cast("JsonObject", json.loads(str(live.get(_APPLIED, "{}"))))
        self.cluster.change(command.kind, name, three_way(before, wanted, found))
        return name

    async def _wait(self, resource: m.ResourceTemplate, target: _Target) -> None:
        success = read_condition("success", resource.success_condition)
        failure = read_condition("fail", resource.failure_condition)
        if not success and not failure:
            return
        seen: object = None
        while True:
            version = self.cluster.version(target.kind, target.name)
            if version is None:
                raise KubectlError(
                    "The resource has been deleted while its status was still being checked. Will not be retried: "
                    f'{target.kind.plural} "{target.name}" not found'
                )
            if version != seen:
                seen = version
                body = self.cluster.get(target.kind, target.name)
                if body is not None and is_met(body, success, failure):
                    return
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self.store.hub.wait()
            except TimeoutError:  # no workflow has changed; other objects may have
                continue
            await asyncio.sleep(_DELAY_PER_WAIT_S * self._waiting)

    def _outputs(self, asked: list[m.Parameter], target: _Target | None) -> m.Outputs:
        parameters: list[m.Parameter] = []
        for parameter in asked:
            source = parameter.value_from
            value = parameter.value
            if source is not None and target is None:
                value = source.default or ""
            elif source is not None and source.json_path and target is not None:
                body = self.cluster.get(target.kind, target.name)
                if body is None:
                    raise target.kind.missing(target.name)
                value = evaluate_json_path(source.json_path, body)
            parameters.append(parameter.model_copy(update={"value": value}))
        return m.Outputs(parameters=parameters or None, exit_code="0")


def _manifest(command: Command) -> JsonObject:
    if not isinstance(command.body, dict):
        raise KubectlError("error: must specify one of -f and -k")
    return command.body


def _patched(command: Command, found: JsonObject) -> JsonObject:
    if command.strategy == "strategic" and command.kind.custom:
        raise KubectlError(
            "Error from server (UnsupportedMediaType): the body of the request was in an unknown format - accepted "
            "media types include: application/json-patch+json, application/merge-patch+json, "
            "application/apply-patch+yaml"
        )
    try:
        if command.strategy == "json":
            return json_patch(found, command.body)
        if command.strategy == "strategic" and '"$' in json.dumps(command.body):
            raise PatchError("directives of a strategic merge ($patch, ...) are not supported by the sandbox")
        return cast("JsonObject", merge_patch(found, _manifest(command)))
    except PatchError as error:
        raise KubectlError(f"The request is invalid: {error}") from error


def _refuse_new_owners(owners: list[JsonObject]) -> None:
    if owners:
        raise KubectlError("setOwnerReference on an object that is there already is not supported by the sandbox")


def _owner(workflow: Workflow) -> JsonObject:
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": workflow.name, "uid": workflow.metadata.uid,
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def _time_left(workflow: Workflow, request: PodRequest) -> float | None:
    """Seconds until the pod's deadline; a restart of the server does not put it off."""
    limit = request.template.active_deadline_seconds
    value = getattr(limit, "root", limit)
    if value is None:
        return None
    started = workflow.status.nodes[request.node_id].started_at or now()
    return max(0.0, float(str(value)) - (now() - started).total_seconds())
