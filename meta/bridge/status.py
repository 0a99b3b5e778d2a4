"""What a bridge's clients are told: `{request_id, status, pipeline, engine, run_id, message, timestamp}`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from meta.bridge.request import Request
from meta.config import REQUEST_ID
from workflows.outcome import RunState
from workflows.spec.subjects import subject_fault
from workflows.values import JsonObject


class BridgeStatus(StrEnum):
    """Where a request stands; the last three are the end."""

    SUBMITTED = "submitted"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"


def status(
    state: BridgeStatus,
    *,
    request_id: str,
    pipeline: str,
    engine: str = "",
    run_id: str = "",
    message: str = "",
    at: datetime | None = None,
) -> JsonObject:
    """A status as clients read it.

    Args:
        state: where the request stands.
        request_id: the client's own.
        pipeline: as the client named it.
        engine: of the step that it tells of, or what the catalogue says.
        run_id: of the meta-run; empty while there is none.
        message: for people.
        at: when it came to be; by default now. Clients get ISO 8601 in UTC.
    """
    return {
        "request_id": request_id,
        "status": state.value,
        "pipeline": pipeline,
        "engine": engine,
        "run_id": run_id,
        "message": message,
        "timestamp": (at or datetime.now(UTC)).isoformat(),
    }


def status_subject(pattern: str, request_id: str) -> str:
    """Where the statuses of a request go."""
    return pattern.replace(REQUEST_ID, request_id)


def id_fault(pattern: str, request_id: str) -> str:
    """Why a request id cannot be a part of the status subject; empty when it can."""
    if "." in request_id:
        return f"request_id '{request_id}' has a dot; it becomes one part of the status subject"
    if fault := subject_fault(status_subject(pattern, request_id), wildcards=False):
        return f"request_id '{request_id}' cannot stand in the status subject: {fault}"
    return ""


def context_of(request: Request, engine: str, engines: Sequence[str]) -> JsonObject:
    """What is kept of a request with its run, so that later statuses can be written; see `meta.events.bridge_format`.

    Args:
        request: what was asked for.
        engine: what the catalogue says of it; empty: nothing.
        engines: of the steps, in order; the first one stands in statuses that tell of no step.
    """
    return {
        "request_id": request.request_id,
        "pipeline": request.pipeline,
        "engine": engine,
        "first_engine": next((engine for engine in engines if engine), ""),
        "encoding": request.encoding,
    }


def end_of(state: RunState, message: str) -> tuple[BridgeStatus, str] | None:
    """Status and message of a run that has ended; None for one that goes on."""
    match state:
        case RunState.RUNNING:
            return None
        case RunState.SUCCEEDED:
            return BridgeStatus.SUCCEEDED, message or "succeeded"
        case RunState.CANCELED:
            return BridgeStatus.FAILED, f"cancelled: {message}" if message else "cancelled"
        case RunState.TERMINATED:
            return BridgeStatus.FAILED, f"terminated: {message}" if message else "terminated"
        case RunState.FAILED:
            return BridgeStatus.FAILED, message or "failed"
