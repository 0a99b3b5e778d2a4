"""What can be done to a workflow: `PUT /api/v1/workflows/{namespace}/{name}/...`.

Source: server/workflow/workflow_server.go.
"""

from __future__ import annotations

import json
from typing import cast

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.request import json_body, server_of, workflow_of
from meta.sandbox.argo.controller import CompletedError
from meta.sandbox.argo.operator import suspend as waits
from meta.sandbox.argo.operator.rerun import NotRetryableError, RetryOptions
from meta.sandbox.argo.operator.suspend import SuspendError
from meta.sandbox.argo.state.status import JsonObject, Phase, Shutdown, now

_REFERENCE = frozenset({"name", "namespace"})
_SELECTED = _REFERENCE | {"nodeFieldSelector"}
_SETTABLE = {"", "Succeeded", "Failed", "Error"}


async def terminate(request: Request) -> Response:
    """PUT .../terminate."""
    await json_body(request, _REFERENCE)
    return await _shut_down(request, Shutdown.TERMINATE)


async def stop(request: Request) -> Response:
    """PUT .../stop; with a nodeFieldSelector it fails waiting suspend nodes instead."""
    body = await json_body(request, _SELECTED | {"message"})
    if _text(body, "nodeFieldSelector"):
        return _update_nodes(request, body, Phase.FAILED, {})
    return await _shut_down(request, Shutdown.STOP)


async def _shut_down(request: Request, strategy: Shutdown) -> Response:
    workflow = workflow_of(request, "patch")
    try:
        server_of(request).controller.shut_down(workflow, strategy)
    except CompletedError as error:
        raise ApiError(Code.INTERNAL, str(error)) from error
    return JSONResponse(workflow.render())


async def suspend(request: Request) -> Response:
    """PUT .../suspend."""
    await json_body(request, _REFERENCE)
    workflow = workflow_of(request, "patch")
    if workflow.status.phase.completed:
        raise ApiError(Code.INTERNAL, "cannot suspend completed workflows")
    server_of(request).controller.change(workflow, lambda: workflow.change_spec(suspend=True))
    return JSONResponse(workflow.render())


async def resume(request: Request) -> Response:
    """PUT .../resume; all of it, or the suspend nodes that a nodeFieldSelector names."""
    body = await json_body(request, _SELECTED)
    if _text(body, "nodeFieldSelector"):
        return _update_nodes(request, body, Phase.SUCCEEDED, {})
    workflow = workflow_of(request, "patch")
    try:
        server_of(request).controller.change(workflow, lambda: waits.resume(workflow, now()))
    except SuspendError as error:
        raise ApiError(Code.INTERNAL, str(error)) from error
    return JSONResponse(workflow.render())


async def set_nodes(request: Request) -> Response:
    """PUT .../set: phase, message and outputParameters (JSON text) of waiting suspend nodes."""
    body = await json_body(request, _SELECTED | {"message", "phase", "outputParameters"})
    phase = _text(body, "phase")
    if phase not in _SETTABLE:
        raise ApiError(Code.INVALID_ARGUMENT, f"{phase} is an invalid phase to set to")
    outputs = _outputs(_text(body, "outputParameters"))
    if not _text(body, "nodeFieldSelector"):
        message = "'set' currently only targets suspend nodes, use a node field selector to target them"
        raise ApiError(Code.INTERNAL, message)
    return _update_nodes(request, body, Phase(phase), outputs)


def _outputs(text: str) -> dict[str, str]:
    try:
        outputs = cast("JsonValue", json.loads(text)) if text else {}
    except json.JSONDecodeError as error:
        raise ApiError(Code.INVALID_ARGUMENT, f"unable to parse output parameter set request: {error}") from error
    if not isinstance(outputs, dict) or not all(isinstance(value, str) for value in outputs.values()):
        raise ApiError(
            Code.INVALID_ARGUMENT, "unable to parse output parameter set request: json: not a map of strings"
        )
    return cast("dict[str, str]", outputs)


def _update_nodes(request: Request, body: JsonObject, phase: Phase, outputs: dict[str, str]) -> Response:
    workflow, selector, message = (
        workflow_of(request, "patch"),
        _text(body, "nodeFieldSelector"),
        _text(body, "message"),
    )
    try:
        server_of(request).controller.change(
            workflow,
            lambda: waits.update_nodes(workflow, now(), selector, phase=phase, message=message, outputs=outputs),
        )
    except SuspendError as error:
        raise ApiError(Code.INTERNAL, str(error)) from error
    return JSONResponse(workflow.render())


async def retry(request: Request) -> Response:
    """PUT .../retry."""
    body = await json_body(request, _SELECTED | {"restartSuccessful", "parameters"})
    workflow = workflow_of(request, "update")
    options = retry_options(body)
    try:
        server_of(request).controller.retry(workflow, options)
    except NotRetryableError as error:
        raise ApiError(Code.INVALID_ARGUMENT, str(error)) from error
    except (SuspendError, ValueError) as error:
        raise ApiError(Code.INTERNAL, str(error)) from error
    return JSONResponse(workflow.render())


def retry_options(body: JsonObject) -> RetryOptions:
    """Read the body of a retry.

    Raises:
        ApiError: a value has the wrong type.
    """
    parameters = body.get("parameters") or []
    if not isinstance(parameters, list) or not all(isinstance(item, str) for item in parameters):
        raise ApiError(Code.INVALID_ARGUMENT, "parameters must be a list of NAME=VALUE")
    return RetryOptions(
        bool(body.get("restartSuccessful")), _text(body, "nodeFieldSelector"), tuple(cast("list[str]", parameters))
    )


def _text(body: JsonObject, key: str) -> str:
    value = body.get(key) or ""
    if not isinstance(value, str):
        raise ApiError(Code.INVALID_ARGUMENT, f"{key} must be a string")
    return value
