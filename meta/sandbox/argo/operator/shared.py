"""What the workflows of a server have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from meta.sandbox.argo.operator.locks import Locks
from meta.sandbox.argo.state.caches import Caches


@dataclass(frozen=True, slots=True)
class Shared:
    """Locks of `synchronization`, and the caches of `memoize`."""

    locks: Locks = field(default_factory=Locks)
    caches: Caches = field(default_factory=Caches)
