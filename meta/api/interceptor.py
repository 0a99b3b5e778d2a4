"""Turns what a call raises into a status with details, at one place for all calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
from google.protobuf.message import Message
from grpc import aio

from meta.api.errors import DETAILS_KEY, pack
from workers.log_context import note_run
from workflows.errors import MetaError

log = logging.getLogger(__name__)

_Context = aio.ServicerContext[Message, Message]
_Unary = Callable[[Message, _Context], Awaitable[Message]]
_Stream = Callable[[Message, _Context], AsyncIterator[Message]]


class ErrorInterceptor(aio.ServerInterceptor):
    """Maps `MetaError` by the table of `meta.api.errors`; anything else is INTERNAL and goes to the log."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:  # a method that we do not have
            return None
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                _unary(cast(_Unary, handler.unary_unary)), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                _stream(cast(_Stream, handler.unary_stream)), handler.request_deserializer, handler.response_serializer
            )
        return handler  # reflection's bidirectional stream raises nothing of ours


def _unary(call: _Unary) -> _Unary:
    async def guarded(request: Message, context: _Context) -> Message:
        _note(request)
        try:
            return await call(request, context)
        except (asyncio.CancelledError, aio.AbortError):
            raise
        except Exception as error:
            await _abort(context, error)
            raise AssertionError("abort raises") from error

    return guarded


def _stream(call: _Stream) -> _Stream:
    async def guarded(request: Message, context: _Context) -> AsyncIterator[Message]:
        _note(request)
        try:
            async for message in call(request, context):
                yield message
        except (asyncio.CancelledError, aio.AbortError):
            raise
        except Exception as error:
            await _abort(context, error)

    return guarded


def _note(request: Message) -> None:
    """Let the log say which run a call is about; each call is a task of its own."""
    if run_id := getattr(request, "run_id", ""):
        note_run(str(run_id))


async def _abort(context: _Context, error: Exception) -> None:
    if not isinstance(error, MetaError):
        log.error("a call failed in a way that nobody foresaw", exc_info=error)
        error = MetaError(f"internal error: {type(error).__name__}: {error}", hint="the service's log has the trace")
    code, message, details = pack(error)
    await context.abort(code, message, ((DETAILS_KEY, details),))
