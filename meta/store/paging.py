"""Page tokens of lists that are ordered by time and id, newest first."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta

from workflows.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def token_of(at: datetime, row_id: str) -> str:
    """The token by which the rows after this one are asked for."""
    micros = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros}/{row_id}".encode()).decode()


def read_token(token: str) -> tuple[datetime, str]:
    """Time and id of the last row of the page before.

    Raises:
        InvalidInput: the token is not one that `token_of` gave.
    """
    try:
        micros, _, row_id = base64.urlsafe_b64decode(token.encode()).decode().partition("/")
        return _EPOCH + timedelta(microseconds=int(micros)), row_id
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidInput(
            "the page token is not one of ours", hint="take next_page_token of the page before"
        ) from error
