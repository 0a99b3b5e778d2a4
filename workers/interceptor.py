"""Turns this project's errors into Temporal's, in one place for all activities."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from workers.backoff import jittered
from workflows.errors import EngineFull, MetaError
from workflows.messages import ErrorDetail


class ErrorInterceptor(Interceptor):
    """A `MetaError` leaves an activity as an ApplicationError: type = its code, non-retryable unless it says so.

    One that knows when to try again (`retry_after`) sets the delay of the next try in place of the retry policy's.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next)


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except MetaError as error:
            detail = ErrorDetail(code=error.code, message=error.message, hint=error.hint)
            benign = isinstance(error, EngineFull)  # waiting for a slot is no fault: it is neither logged nor counted
            raise ApplicationError(
                str(error),
                detail,
                type=error.code,
                non_retryable=not error.retryable,
                next_retry_delay=timedelta(seconds=jittered(error.retry_after)) if error.retry_after else None,
                category=ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED,
            ) from error
