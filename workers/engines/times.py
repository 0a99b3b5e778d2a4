"""The times that a submit is made of, and whether an engine's settings leave room for them."""

from __future__ import annotations

from dataclasses import dataclass

from workers.settings import HttpSettings
from workflows.errors import SettingsInvalid
from workflows.messages import SUBMIT_TIMEOUT

PATIENCE = 5.0
"""Seconds that a try waits for the lease of another before it gives up, to be tried again by Temporal."""

_MARGIN = 5.0  # seconds of an activity's time for what is no engine's: the store, Temporal itself
_PREPARING_CALLS = 4


@dataclass(frozen=True, slots=True)
class Times:
    """What one try of a submit is made of, in seconds.

    Attributes:
        call: time-outs of one HTTP call, connecting and reading.
        settle: delay before the second look after an ambiguous answer.
        create: from just before the create to the end of the try: the create, a look, the settle delay, a look. No
            request of the try can reach the engine later than that.
        prepare: at most for all that comes before the create.
        whole: the two together; the lease is taken for so long.
    """

    call: float
    settle: float
    create: float
    prepare: float
    whole: float


def times_of(settings: HttpSettings) -> Times:
    """The times of an engine's submits."""
    call = settings.connect_timeout + settings.request_timeout
    create = 3 * call + settings.settle_delay
    left = SUBMIT_TIMEOUT.total_seconds() - PATIENCE - _MARGIN - create
    prepare = max(call, min(_PREPARING_CALLS * call, left))
    return Times(call, settings.settle_delay, create, prepare, prepare + create)


def check_times(name: str, settings: HttpSettings) -> None:
    """Check that an engine's time-outs keep what the lease and the settle delay promise.

    Args:
        name: the engine's, in the configuration.
        settings: the engine's.

    Raises:
        SettingsInvalid: a create could still be carried out at the second look, or a submit does not fit into the
            time that Temporal gives it.
    """
    if settings.settle_delay <= settings.request_timeout:
        raise SettingsInvalid(
            f"engines.{name}.settle_delay is {settings.settle_delay:g} s, not above request_timeout, "
            f"{settings.request_timeout:g} s: after a create that is not answered a worker would look while the engine "
            "may still be at it",
            hint=f"set settle_delay above {settings.request_timeout:g}, or lower request_timeout",
        )
    times = times_of(settings)
    needed, limit = times.call + times.create + PATIENCE + _MARGIN, SUBMIT_TIMEOUT.total_seconds()
    if needed > limit:
        raise SettingsInvalid(
            f"engines.{name}: a submit may take {needed:g} s (four calls of {times.call:g} s, connect_timeout and "
            f"request_timeout together, a settle_delay of {times.settle:g} s, and {PATIENCE + _MARGIN:g} s for other "
            f"things), more than the {limit:g} s that it has",
            hint="lower connect_timeout, request_timeout or settle_delay",
        )
