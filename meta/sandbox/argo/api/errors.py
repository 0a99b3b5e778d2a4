"""Errors as grpc-gateway writes them: `{"code": <gRPC code>, "message": ...}` with the HTTP status of the code."""

from __future__ import annotations

from enum import Enum

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response


class Code(Enum):
    """gRPC codes with their HTTP status (grpc-gateway's HTTPStatusFromCode)."""

    INVALID_ARGUMENT = (3, 400)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAUTHENTICATED = (16, 401)


class ApiError(Exception):
    """A request's refusal."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def response(self) -> Response:
        number, status = self.code.value
        return JSONResponse({"code": number, "message": self.message}, status)


def not_found(name: str, resource: str = "workflows.argoproj.io") -> ApiError:
    return ApiError(Code.NOT_FOUND, f'{resource} "{name}" not found')


async def on_api_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, ApiError)  # registered for that class
    return error.response()


async def on_unknown_route(request: Request, error: Exception) -> Response:
    """What is outside the API is plain text in the real server too."""
    del request, error
    return PlainTextResponse("Not Found\n", 404)


async def on_fault(request: Request, error: Exception) -> Response:
    del request
    return ApiError(Code.INTERNAL, f"{type(error).__name__}: {error}").response()
