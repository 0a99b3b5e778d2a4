"""What goes wrong at the stub of the Argo server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ArgoFaults:
    """How many of the next requests go wrong, and how.

    Attributes:
        lost_creates: the workflow is created, the answer never comes.
        refused_creates: nothing is created, the answer never comes.
        quota_conflicts: nothing is created, the answer is 409, as some quota refusals are.
        bursts: any request is answered `burst_status`, 503 unless told otherwise.
        retry_after: the seconds in the `Retry-After` of these answers; empty: none.
        stale_watches: a watch is answered `stale_status`, too old resource version.
        delete_at_end: workflows are deleted the moment they end.
        archive: deleted workflows can still be read by uid; False: there is no archive at all.
        archive_by_name: reading by name finds them too, as in servers from 3.5 on.
        lost_retries: the retry takes effect, the answer never comes.
        refused_retries: the retry is answered 400, as for a workflow whose template cannot be retried.
        refused_ends: a stop or terminate is answered 403.
        silent_logs: a log stream says nothing for so many seconds.
        retry_conflicts: the retry is answered 409, as when the controller writes at the same moment.
        slow_lists: every list takes so many seconds, as with a big archive.
        hang: seconds until a lost answer's connection is given up.
    """

    lost_creates: int = 0
    refused_creates: int = 0
    quota_conflicts: int = 0
    bursts: int = 0
    burst_status: int = 503
    retry_after: str = ""
    stale_watches: int = 0
    stale_status: int = 400
    delete_at_end: bool = False
    archive: bool = False
    archive_by_name: bool = False
    lost_retries: int = 0
    refused_retries: int = 0
    refused_ends: int = 0
    silent_logs: float = 0.0
    retry_conflicts: int = 0
    slow_lists: float = 0.0
    hang: float = 6.0
