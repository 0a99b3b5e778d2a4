"""What can go wrong: each kind mirrors something that real servers are known to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class EngineName(StrEnum):
    ARGO = "argo"
    KFP = "kfp"


class Kind(StrEnum):
    LOST_RESPONSE = "lost-response"
    LOST_REQUEST = "lost-request"
    UNAVAILABLE = "unavailable"
    TOO_MANY_REQUESTS = "too-many-requests"
    SERVER_ERROR = "server-error"
    SLOW = "slow"
    QUOTA_CONFLICT = "quota-conflict"
    RETRY_CONFLICT = "retry-conflict"
    STALE_LIST = "stale-list"
    WATCH_CUT = "watch-cut"
    WATCH_ERROR = "watch-error"
    WATCH_TOO_OLD = "watch-too-old"
    WATCH_SILENT = "watch-silent"
    EARLY_DELETION = "early-deletion"
    RECORD_GONE = "record-gone"
    REOPENED = "reopened"
    LATE_LIST = "late-list"
    SECOND_RUN = "second-run"
    CANCELED_AFTER_TERMINATE = "canceled-after-terminate"
    METADATA_UNAVAILABLE = "metadata-unavailable"


_BOTH = frozenset(EngineName)
_ARGO, _KFP = frozenset({EngineName.ARGO}), frozenset({EngineName.KFP})
_ANY: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KindInfo:
    """One row of the table.

    Attributes:
        engines: which servers can do it.
        summary: what happens, in one line.
        mirrors: the real behaviour, and where it is written down.
        verbs: the only verbs that it can be about; empty for any.
        default: the verb of a rule that names none; empty for any but `health`.
        delay: seconds of a rule that gives none; None where a delay means nothing.
        on_run: whether it can be set on one run.
        options: options of a rule beyond those that every kind has.
    """

    engines: frozenset[EngineName]
    summary: str
    mirrors: str
    verbs: tuple[str, ...] = _ANY
    default: str = ""
    delay: float | None = None
    on_run: bool = True
    options: frozenset[str] = frozenset()


_MESSAGE = frozenset({"message"})
KINDS: Mapping[Kind, KindInfo] = {
    Kind.LOST_RESPONSE: KindInfo(
        _BOTH, "the request is carried out, then the connection is closed without an answer",
        "a proxy or a network that drops the answer; creating in KFP is not idempotent", default="create",
    ),
    Kind.LOST_REQUEST: KindInfo(
        _BOTH, "the connection is closed before the request is carried out",
        "as lost-response, before the server: a client cannot tell the two apart", default="create",
    ),
    Kind.UNAVAILABLE: KindInfo(
        _BOTH, "503 from a proxy", "an ingress whose server is restarting", options=_MESSAGE,
    ),
    Kind.TOO_MANY_REQUESTS: KindInfo(
        _BOTH, "429 with Retry-After: a date from Argo, seconds from KFP's ingress (`delay` from now)",
        "argo-server's --api-rate-limit (server/apiserver, httplimit), an ingress's limit", delay=1.0,
    ),
    Kind.SERVER_ERROR: KindInfo(
        _BOTH, "500 with the engine's own error body, nothing is carried out",
        "etcd or the database does not answer in time", options=_MESSAGE,
    ),
    Kind.SLOW: KindInfo(
        _BOTH, "the request waits `delay` seconds before it is carried out",
        "a list that merges a big archive takes minutes (argo-workflows 16287, 13948)", delay=2.0,
    ),
    Kind.QUOTA_CONFLICT: KindInfo(
        _ARGO, "409 AlreadyExists although nothing was created",
        "a conflict on the namespace's quota shows as AlreadyExists (argo-workflows 14106)",
        verbs=("create",), default="create",
    ),
    Kind.RETRY_CONFLICT: KindInfo(
        _BOTH, "a retry in place is refused, nothing is retried: 409 from Argo, 500 from KFP",
        "the controller writes at the same moment; KFP 2.17.0 surfaces its 409 as 500 (pipelines 13507)",
        verbs=("retry",), default="retry",
    ),
    Kind.STALE_LIST: KindInfo(
        _ARGO, "a list shows the state of `delay` seconds ago, with the resource version of then",
        "LIST lags behind writes, GET does not (fact sheet: watch and list)",
        verbs=("list",), default="list", delay=5.0, on_run=False,
    ),
    Kind.WATCH_CUT: KindInfo(
        _ARGO, "the stream is cut before an event; with `partial` in the middle of its line",
        "the server closes watches regularly; so do proxies", verbs=("watch",), default="watch",
        options=frozenset({"partial"}),
    ),
    Kind.WATCH_ERROR: KindInfo(
        _ARGO, "an error instead of an event, then the stream ends",
        "the Kubernetes watch behind the stream has ended: ResourceExhausted, EOF (server/workflow, WatchWorkflows)",
        verbs=("watch",), default="watch", options=_MESSAGE,
    ),
    Kind.WATCH_TOO_OLD: KindInfo(
        _ARGO, "a watch from a resource version is refused with 400; with `stream` by an error inside the stream",
        "the version's events are compacted away: 410 Expired, which argo-server turns into InvalidArgument",
        verbs=("watch",), default="watch", on_run=False, options=frozenset({"stream"}),
    ),
    Kind.WATCH_SILENT: KindInfo(
        _ARGO, "from an event on the stream carries keepalives only, until the client opens a new one",
        "a half-dead connection between argo-server and the Kubernetes API",
        verbs=("watch",), default="watch",
    ),
    Kind.EARLY_DELETION: KindInfo(
        _ARGO, "a workflow is deleted `delay` seconds after its end",
        "spec.ttlStrategy may delete within seconds (fact sheet: retention)",
        verbs=("end",), default="end", delay=0.0,
    ),
    Kind.RECORD_GONE: KindInfo(
        _BOTH, "a run's record is gone `delay` seconds after its end: from API and archive, 404",
        "no archive, or its TTL; KFP's RUNS_RETENTION_TIME (fact sheets: retention, state)",
        verbs=("end",), default="end", delay=0.0,
    ),
    Kind.REOPENED: KindInfo(
        _ARGO, "somebody retries a failed workflow by hand `delay` seconds after its end",
        "a terminal phase is not final for ever (fact sheet: status)", verbs=("end",), default="end", delay=0.0,
    ),
    Kind.LATE_LIST: KindInfo(
        _KFP, "lists show a new run only after `delay` seconds",
        "CreateRun makes the Argo Workflow first, the row that lists read afterwards (fact sheet: create once)",
        verbs=("create",), default="create", delay=5.0,
    ),
    Kind.SECOND_RUN: KindInfo(
        _KFP, "a create makes two runs of the same display name; the answer is the second's",
        "a proxy that sends a request twice: display_name is not unique (fact sheet: create once)",
        verbs=("create",), default="create",
    ),
    Kind.CANCELED_AFTER_TERMINATE: KindInfo(
        _KFP, "a terminated run ends CANCELED; without this fault it ends FAILED, as on a real 2.17 server",
        "the API has the state and clients must take it (pipelines 14473), though no backend writes it today",
        verbs=("terminate",), default="terminate",
    ),
    Kind.METADATA_UNAVAILABLE: KindInfo(
        _KFP, "a call to ML Metadata is answered UNAVAILABLE; `name` matches the method",
        "the metadata service restarts on its own", verbs=("metadata",), default="metadata", on_run=False,
    ),
}  # fmt: skip
"""Every kind. A terminated KFP run ends FAILED without any fault: the backend maps its Argo Workflow's phase."""

_RUN_VERBS = ("create", "list", "get", "delete", "terminate", "retry", "log", "other", "health", "end")
VERBS: Mapping[EngineName, tuple[str, ...]] = {
    EngineName.ARGO: (*_RUN_VERBS, "watch", "stop", "suspend", "resume", "set", "resubmit", "archived"),
    EngineName.KFP: (*_RUN_VERBS, "archive", "unarchive", "metadata"),
}
"""What a rule's `verb` can be. `end` is no request but the end of a run; `other` is all that is not about runs."""
