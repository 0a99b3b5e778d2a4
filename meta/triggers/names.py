"""How streams, consumers and subjects of triggers are called at NATS. They are stable: an upgrade finds them again."""

from __future__ import annotations

import hashlib
import re

STREAM = "META_TRIGGERS"
CONSUMER = "meta-service"
DEAD_STREAM = "META_DEAD"
DEAD_AGE_S = 30 * 24 * 3600.0

_NO_NAME = re.compile(r"[^A-Z0-9]+")


def durable_name(workflow: str, key: str) -> str:
    """Durable consumer of a trigger.

    `a-b` with `c` and `a` with `b-c` come to the same name; the consumer's metadata tells them apart.
    """
    return f"meta-{workflow}-{key}"


def stream_name(workflow: str, key: str, *, taken: str = "") -> str:
    """Stream that is made for a trigger whose subject no stream has.

    Args:
        workflow: whose trigger it is.
        key: of the trigger.
        taken: the trigger's subject, when the plain name belongs to a stream with other subjects.
    """
    plain = "META_" + _NO_NAME.sub("_", f"{workflow}_{key}".upper())
    return f"{plain}_{hashlib.sha256(taken.encode()).hexdigest()[:8].upper()}" if taken else plain
