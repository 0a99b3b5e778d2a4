"""Turns this project's errors into Temporal's, in one place for all activities."""

from __future__ import annotations

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from workflows.errors import MetaError
from workflows.messages import ErrorDetail


class ErrorInterceptor(Interceptor):
    """A `MetaError` leaves an activity as an ApplicationError: type = its code, non-retryable unless it says so."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next)


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except MetaError as error:
            detail = ErrorDetail(code=error.code, message=error.message, hint=error.hint)
            raise ApplicationError(str(error), detail, type=error.code, non_retryable=not error.retryable) from error
