"""Errors as the real API server answers them: a gRPC status through grpc-gateway.

The body is `{"code": N, "message": "...", "details": [{"@type": ".../google.rpc.Status", ...}]}`; the message carries
the kind of error and what the server was doing, the detail the short form (kubeflow/pipelines, util/error.go).
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from enum import Enum


class Code(Enum):
    """gRPC codes that the server uses, with the HTTP status that grpc-gateway maps them to."""

    INVALID_ARGUMENT = (3, 400)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)

    @property
    def number(self) -> int:
        return self.value[0]

    @property
    def http_status(self) -> int:
        return self.value[1]


class ApiError(Exception):
    """An answer that is not 200."""

    def __init__(self, code: Code, message: str, external: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.external = external

    def wrap(self, doing: str) -> ApiError:
        """Put in front what the server was doing."""
        return type(self)(self.code, f"{doing}: {self.message}", self.external)

    def body(self) -> dict[str, object]:
        detail = {
            "@type": "type.googleapis.com/google.rpc.Status",
            "code": self.code.number,
            "message": self.external,
        }
        return {"code": self.code.number, "message": self.message, "details": [detail]}


class Unsupported(ApiError):
    """What a real server takes and this one does not. Always 400, where a real one would have gone on."""


def invalid_input(message: str) -> ApiError:
    return ApiError(Code.INVALID_ARGUMENT, f"Invalid input error: {message}", message)


def not_found(kind: str, name: str) -> ApiError:
    external = f"{kind} {name} not found"
    return ApiError(Code.NOT_FOUND, f"ResourceNotFoundError: {external}", external)


def already_exists(message: str) -> ApiError:
    return ApiError(Code.ALREADY_EXISTS, f"Already exist error: {message}", message)


def bad_request(message: str, cause: str) -> ApiError:
    """The server calls it a bad request and answers ABORTED (409)."""
    return ApiError(Code.ABORTED, f"BadRequestError: {message}: {cause}", message)


def internal(doing: str, cause: str) -> ApiError:
    return ApiError(Code.INTERNAL, f"InternalServerError: {doing}: {cause}", "Internal Server Error")


def failed_precondition(message: str, cause: str) -> ApiError:
    return ApiError(Code.FAILED_PRECONDITION, f"FailedPreconditionError: {message}: {cause}", message)


@contextlib.contextmanager
def doing(what: str) -> Generator[None]:
    """Put in front of an error what the server was doing; its kind stays (util.Wrap)."""
    try:
        yield
    except ApiError as error:
        raise error.wrap(what) from error


@contextlib.contextmanager
def internally(what: str) -> Generator[None]:
    """As `doing`, but whatever it was is an internal error to the client (util.NewInternalServerError)."""
    try:
        yield
    except Unsupported as error:
        raise error.wrap(what) from error
    except ApiError as error:
        raise internal(what, error.message) from error


def unsupported(field: str, why: str) -> ApiError:
    """What a real server takes and this one does not."""
    message = f"{field} is not supported by the sandbox Kubeflow Pipelines server: {why}"
    return Unsupported(Code.INVALID_ARGUMENT, f"Invalid input error: {message}", message)
