"""What the handlers have in common: the server's parts, bodies and query parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue
from starlette.requests import Request

from meta.sandbox.argo.api.errors import ApiError, Code, not_found
from meta.sandbox.argo.controller import Controller
from meta.sandbox.argo.pods.artifacts import ArtifactRepository
from meta.sandbox.argo.pods.command import Images
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.store import Store
from meta.sandbox.argo.state.workflow import Workflow

LARGEST_BODY = 1536 * 1024  # etcd's limit for one object, in bytes


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of a running server, as the handlers see them."""

    store: Store
    controller: Controller
    images: Images
    repository: ArtifactRepository
    namespace: str


def server_of(request: Request) -> Server:
    return cast("Server", request.app.state.server)


def namespace_of(request: Request, verb: str, plural: str = "workflows") -> str:
    """The path's namespace.

    Raises:
        ApiError: another one than the server manages.
    """
    namespace = cast("str", request.path_params["namespace"])
    check_namespace(request, namespace, verb, plural)
    return namespace


def check_namespace(request: Request, namespace: str, verb: str, plural: str = "workflows") -> None:
    """Whether the server manages a namespace.

    Raises:
        ApiError: it does not.
    """
    managed = server_of(request).namespace
    if namespace != managed:
        raise ApiError(
            Code.PERMISSION_DENIED,
            f'{plural}.argoproj.io is forbidden: cannot {verb} resource "{plural}" in API group "argoproj.io" in '
            f'the namespace "{namespace}": the sandbox manages "{managed}" only',
        )


def workflow_of(request: Request, verb: str, *, archived: bool = False, uid: str = "") -> Workflow:
    """The path's workflow; `@latest` is the one made last.

    Args:
        request: with `namespace` and `name` in its path.
        verb: for the message of a refusal.
        archived: whether one in the archive will do, where there is no live one.
        uid: the identity that it must have, if any.

    Raises:
        ApiError: there is none.
    """
    namespace, name = namespace_of(request, verb), cast("str", request.path_params["name"])
    store = server_of(request).store
    if name == "@latest":
        found = store.all(namespace)
        if not found:
            raise ApiError(Code.NOT_FOUND, "no workflows found")
        return max(found, key=lambda one: one.metadata.created)
    workflow = store.get(namespace, name)
    if workflow is not None and uid not in ("", workflow.metadata.uid):
        workflow = None
    if workflow is None and archived and store.archive is not None:
        workflow = store.archive.get(uid) if uid else store.archive.latest(namespace, name)
    if workflow is None:
        raise not_found(name)
    return workflow


async def json_body(request: Request, allowed: frozenset[str]) -> JsonObject:
    """The request's body, an empty one for none.

    Raises:
        ApiError: no JSON object, or a key that is set and that the sandbox does not know.
    """
    text = await request.body()
    if len(text) > LARGEST_BODY:
        raise ApiError(Code.INVALID_ARGUMENT, f"Request entity too large: limit is {LARGEST_BODY}")
    if not text.strip():
        return {}
    try:
        body = cast("JsonValue", json.loads(text))
    except json.JSONDecodeError as error:
        raise ApiError(Code.INVALID_ARGUMENT, f"invalid character in request body: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(Code.INVALID_ARGUMENT, "json: cannot unmarshal the request body: it must be an object")
    for key, value in body.items():
        if key not in allowed and value not in (None, "", False, [], {}):
            raise ApiError(Code.INVALID_ARGUMENT, f"{key} is not supported by the sandbox")
    return body


def query(request: Request, *allowed: str) -> dict[str, str]:
    """The query parameters that are set.

    Raises:
        ApiError: one that the sandbox does not know.
    """
    found = {key: value for key, value in request.query_params.items() if value not in ("", "false")}
    for key in found:
        if key not in allowed:
            raise ApiError(Code.INVALID_ARGUMENT, f"query parameter {key} is not supported by the sandbox")
    return found


def whole_number(values: dict[str, str], key: str) -> int | None:
    """A query parameter that is a number.

    Raises:
        ApiError: it is none.
    """
    text = values.get(key)
    if text is None:
        return None
    if not text.isdigit():
        raise ApiError(Code.INVALID_ARGUMENT, f'type mismatch, parameter: {key}, error: invalid number "{text}"')
    return int(text)
