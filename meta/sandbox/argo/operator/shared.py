"""What the workflows of a server have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from meta.sandbox.argo.operator.locks import Locks
from meta.sandbox.argo.state.caches import Caches
from meta.sandbox.kubernetes_objects import KubernetesObjects


@dataclass(frozen=True, slots=True)
class Shared:
    """Locks of `synchronization`, the caches of `memoize`, and the ConfigMaps of parameters."""

    locks: Locks = field(default_factory=Locks)
    caches: Caches = field(default_factory=Caches)
    objects: KubernetesObjects = field(default_factory=KubernetesObjects)
