"""Request bodies, checked as protojson checks them: an unknown field is an error that names it."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request

from meta.sandbox.kfp.errors import ApiError, Code

_LARGEST_BYTES = 32 * 1024 * 1024
_T = TypeVar("_T", bound=BaseModel)


class Body(BaseModel):
    """Takes display_name as well as displayName, as protojson does."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ExperimentBody(Body):
    experiment_id: str | None = None
    display_name: str | None = None
    description: str | None = None
    created_at: str | None = None
    namespace: str | None = None
    storage_state: str | None = None
    last_run_created_at: str | None = None


class PipelineBody(Body):
    pipeline_id: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    created_at: str | None = None
    namespace: str | None = None
    error: dict[str, Any] | None = None
    tags: dict[str, str] | None = None


class UrlBody(Body):
    pipeline_url: str = ""


class VersionBody(Body):
    pipeline_id: str | None = None
    pipeline_version_id: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    created_at: str | None = None
    package_url: UrlBody | None = None
    code_source_url: str | None = None
    pipeline_spec: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    tags: dict[str, str] | None = None


class PipelineAndVersionBody(Body):
    pipeline: PipelineBody | None = None
    pipeline_version: VersionBody | None = None


class RuntimeConfigBody(Body):
    parameters: dict[str, Any] | None = None
    pipeline_root: str | None = None


class VersionReferenceBody(Body):
    pipeline_id: str | None = None
    pipeline_version_id: str | None = None


class RunBody(Body):
    """A run as a client may send it. Fields that only the server sets are taken and not looked at, as it does."""

    run_id: str | None = None
    experiment_id: str | None = None
    display_name: str | None = None
    description: str | None = None
    storage_state: str | None = None
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_reference: VersionReferenceBody | None = None
    pipeline_version_id: str | None = None
    runtime_config: RuntimeConfigBody | None = None
    service_account: str | None = None
    recurring_run_id: str | None = None
    plugins_input: dict[str, Any] | None = None
    plugins_output: dict[str, Any] | None = None
    state: str | None = None
    state_history: list[dict[str, Any]] | None = None
    created_at: str | None = None
    scheduled_at: str | None = None
    finished_at: str | None = None
    error: dict[str, Any] | None = None
    run_details: dict[str, Any] | None = None


async def read(request: Request, model: type[_T]) -> _T:
    """Read a JSON body.

    Raises:
        ApiError: it is no JSON, or a field is unknown or of the wrong type.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > _LARGEST_BYTES:
        raise malformed(f"the body has {length} bytes, more than {_LARGEST_BYTES}")
    raw = await request.body()
    try:
        document: object = json.loads(raw)
    except ValueError as error:
        raise malformed(f"syntax error: {error}") from error
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise malformed(first_slip(error)) from error


def first_slip(error: ValidationError) -> str:
    """What is wrong first, in protojson's words where it is an unknown field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f'unknown field "{field}"' if first["type"] == "extra_forbidden" else f"{field}: {first['msg']}"


def malformed(message: str) -> ApiError:
    """A body that is not the message it should be."""
    text = f"proto: {message}"  # grpc-gateway answers before the server sees it, so without details
    return ApiError(Code.INVALID_ARGUMENT, text, text)
