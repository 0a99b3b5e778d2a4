"""What a list of workflows is asked for, live or archived (server/utils/list_options.go)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from starlette.requests import Request

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.request import query, whole_number
from meta.sandbox.argo.api.selectors import Labels, label_selector
from meta.sandbox.argo.state.archive import NEVER, Summary
from meta.sandbox.argo.state.status import JsonObject

_COMMON = (
    "nameFilter", "listOptions.labelSelector", "listOptions.fieldSelector", "listOptions.limit",
    "listOptions.continue", "listOptions.resourceVersion",
)  # fmt: skip
_NAME_FILTERS: Mapping[str, Callable[[str, str], bool]] = {
    "": str.__eq__, "Exact": str.__eq__, "Contains": str.__contains__, "Prefix": str.startswith,
    "NotEquals": str.__ne__,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list, and how it goes on."""

    items: list[Summary]
    metadata: JsonObject


class Listing:
    """One request's selectors and paging."""

    def __init__(self, request: Request, namespace: str, *also: str) -> None:
        """Read the query; `also` names the parameters that this list alone has.

        Raises:
            ApiError: a parameter is unknown or wrong.
        """
        self.values = query(request, *_COMMON, *also)
        self._matches: Callable[[Labels], bool] = label_selector(self.values.get("listOptions.labelSelector", ""))
        self._name, self._filter = "", self.values.get("nameFilter", "")
        self._after = self._before = None
        self._remaining = False
        for part in filter(None, self.values.get("listOptions.fieldSelector", "").split(",")):
            self._select(part, namespace)
        if self._filter not in _NAME_FILTERS:
            raise ApiError(Code.INVALID_ARGUMENT, f"nameFilter {self._filter} is not supported by the sandbox")
        self._created_after = self._time(self.values.get("createdAfter"))
        self._finished_before = self._time(self.values.get("finishedBefore"))
        self._limit = whole_number(self.values, "listOptions.limit") or 0
        offset = self.values.get("listOptions.continue", "0")
        if not offset.removeprefix("-").isdigit():
            raise ApiError(Code.INVALID_ARGUMENT, "listOptions.continue must be int")
        self._offset = int(offset)
        if self._offset < 0:
            raise ApiError(Code.INVALID_ARGUMENT, "listOptions.continue must >= 0")

    def _select(self, part: str, namespace: str) -> None:
        for start in ("metadata.name!=", "metadata.name==", "metadata.name="):
            if part.startswith(start):
                self._name = part.removeprefix(start)
                self._filter = "NotEquals" if "!" in start else self._filter
                return
        field, value = part[: len("spec.startedAt>")], part[len("spec.startedAt>") :]
        if field == "spec.startedAt>":
            self._after = self._time(value)
        elif field == "spec.startedAt<":
            self._before = self._time(value)
        elif part.startswith("metadata.namespace="):
            if (other := part.partition("=")[2]) != namespace:
                raise ApiError(
                    Code.INVALID_ARGUMENT,
                    f"'namespace' query param (\"{namespace}\") and fieldselector 'metadata.namespace' (\"{other}\") "
                    "are both specified and contradict each other",
                )
        elif part.startswith("ext.showRemainingItemCount="):
            self._remaining = part.endswith("=true")
        else:
            raise ApiError(Code.INVALID_ARGUMENT, f"unsupported requirement {part}")

    @staticmethod
    def _time(text: str | None) -> datetime | None:
        try:
            moment = datetime.fromisoformat(text) if text else None
        except ValueError:
            moment = datetime.min
        if moment is not None and moment.tzinfo is None:
            raise ApiError(Code.INTERNAL, f'parsing time "{text}": not a time of RFC 3339')
        return moment

    def _admits(self, one: Summary) -> bool:
        name_fits = not self._name or _NAME_FILTERS[self._filter](one.name, self._name)
        return (
            name_fits
            and self._matches(one.labels)
            and one.name.startswith(self.values.get("namePrefix", ""))
            and (self._after is None or one.started >= self._after)
            and (self._before is None or one.started <= self._before)
            and (self._created_after is None or one.created >= self._created_after)
            and (self._finished_before is None or one.finished <= self._finished_before)
        )

    def page(self, summaries: Iterable[Summary]) -> Page:
        """The part that is asked for; only as much is read as is needed to know whether there is more."""
        found = filter(self._admits, summaries)
        behind = self._offset + self._limit if self._limit else None
        ahead = list(islice(found, None if behind is None or self._remaining else behind + 1))
        items = ahead[self._offset : behind]
        metadata: JsonObject = {}
        if behind is not None and len(ahead) > behind:
            metadata["continue"] = str(behind)
        if self._remaining:
            metadata["remainingItemCount"] = max(0, len(ahead) - self._offset - len(items))
        items.sort(key=_order)
        return Page(items, metadata)


def _order(one: Summary) -> tuple[bool, float]:
    """What runs first, then what ended last (`Workflows.Less`)."""
    ended = one.finished != NEVER
    return ended, -(one.finished if ended else one.created).timestamp()
