"""Names and keys of engine runs: pure functions, so that a retry finds what the first try made."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict

MAX_NAME = 52
"""Longest engine run name. Argo appends `-<digits>` for pod names within Kubernetes' 63."""

LABEL_RUN = "meta-workflows/run-key"  # label (Argo): the hash of the run key
ANNOTATION_KEY = "meta-workflows/key"  # the full run key
ANNOTATION_DIGEST = "meta-workflows/spec-digest"
LABEL_MANAGED = "app.kubernetes.io/managed-by"
MANAGED_BY = "meta-workflows"
_PARTS = 4


class RunKey(BaseModel):
    """Identity of one attempt of one step: at most one engine run is adopted for it.

    Attributes:
        meta_run: id of the meta-run, which is the Temporal workflow id.
        step: the step's name.
        index: position in a fan-out, from 1; 0 without one.
        attempt: from 1. Resuming in place keeps the attempt's engine run and thus the key that made it.
    """

    model_config = ConfigDict(frozen=True)

    meta_run: str
    step: str
    index: int = 0
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.meta_run}/{self.step}/{self.index}/{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> RunKey | None:
        """Read what `str` wrote; None for anything else. A meta-run's id may hold slashes, the rest may not."""
        parts = text.rsplit("/", 3)
        if len(parts) != _PARTS or not all(parts) or not (parts[2].isdecimal() and parts[3].isdecimal()):
            return None
        meta_run, step, index, attempt = parts
        return cls(meta_run=meta_run, step=step, index=int(index), attempt=int(attempt))

    @property
    def hash(self) -> str:
        """Ten hex digits that stand for the key in names and labels."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:10]


def engine_run_name(workflow: str, key: RunKey) -> str:
    """`<workflow>-<step>-<hash of the run key>`, a DNS label of at most `MAX_NAME` characters.

    When it would be longer, the readable part is cut; the hash keeps it unique.
    """
    readable = f"{workflow}-{key.step.replace('_', '-')}"
    return f"{readable[: MAX_NAME - 11].rstrip('-')}-{key.hash}"


def key_of_name(name: str, key: str) -> RunKey | None:
    """The key that a run carries, if the run's name was made from it.

    Args:
        name: of the engine run.
        key: the text of a `RunKey`, as the engine run carries it.

    Returns:
        None when the key is none, or the name is not the one that `engine_run_name` makes from it.
    """
    found = RunKey.parse(key)
    return found if found is not None and name.endswith(f"-{found.hash}") else None


def request_run_id(workflow: str, request_id: str) -> str:
    """The id of the meta-run that a request starts, the same however often it is made."""
    return f"{workflow}-{hashlib.sha256(request_id.encode()).hexdigest()[:16]}"
