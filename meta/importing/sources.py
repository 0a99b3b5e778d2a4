"""EventSources, and the dependencies of a sensor on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meta.importing.documents import At, ImportRefused
from meta.importing.events import Dependency, EventSource, jq_prefix
from meta.importing.report import Report
from workflows.spec.subjects import subject_fault

_DEPENDENCY = frozenset({"name", "eventSourceName", "eventName", "filters", "transform", "filtersLogicalOperator"})
_NATS = frozenset(
    {"url", "subject", "connectionBackoff", "jsonBody", "tls", "metadata", "auth", "filter", "queue"}
)  # fmt: skip


@dataclass(frozen=True)
class Subjects:
    """Where messages come, as far as the files say, and the user.

    Attributes:
        sources: EventSources by name; an event of another kind than NATS has the kind as its text.
        given: subjects by dependency; the one under an empty name is for a dependency that has no other.
        stream: of all triggers; empty leaves it to the service.
    """

    sources: Mapping[str, Mapping[str, EventSource | str]] = field(
        default_factory=dict[str, Mapping[str, EventSource | str]]
    )
    given: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: str = ""


def event_sources(documents: Iterable[At], report: Report) -> dict[str, Mapping[str, EventSource | str]]:
    """The events of EventSources, by the source's name and the event's."""
    return {
        one["metadata"].text("name"): _events(one["spec"], report)
        for one in documents
        if one.text("kind") == "EventSource"
    }


def _events(spec: At, report: Report) -> dict[str, EventSource | str]:
    found: dict[str, EventSource | str] = {}
    for kind, at in spec.entries():
        if isinstance(at.value, dict) and kind not in ("template", "service"):
            for name, event in at.entries():
                found[name] = _nats(event, report) if kind == "nats" else kind
    return found


def _nats(at: At, report: Report) -> EventSource:
    report.unknown(at, _NATS, "a NATS event source")
    url = at.text("url")
    if url:
        report.differs(at["url"], f"messages are read at {url}", f'set url = "{url}" under [nats] in meta.toml')
    for key in ("auth", "tls"):
        if key in at:
            report.left_out(at[key], f"{key}: who the event source is at NATS", "see [nats] in docs/configuration.md")
    if "filter" in at:
        report.left_out(at["filter"], "a filter of the event source", "write it into the trigger's 'when'")
    return EventSource(
        at.text("subject"),
        at,
        json_body=at.flag("jsonBody"),
        metadata={key: str(value) for key, value in at["metadata"].object().items()},
    )


def dependencies(at: At, subjects: Subjects, report: Report) -> dict[str, Dependency]:
    """The dependencies of a sensor, by name, with their subjects.

    Raises:
        ImportRefused: one of them waits for no NATS event.
    """
    found: dict[str, Dependency] = {}
    entries = at.items()
    names = {one.text("name") for one in entries}
    for name in subjects.given:
        if name and name not in names:
            raise ImportRefused(
                f"--subject {name}=...: the sensor has no dependency '{name}'",
                hint=f"it has: {', '.join(sorted(names))}",
            )
    for one in entries:
        report.unknown(one, _DEPENDENCY, "a dependency")
        dependency = _dependency(one, subjects, report)
        found[dependency.name] = dependency
    return found


def _dependency(at: At, subjects: Subjects, report: Report) -> Dependency:
    name, source_name, event_name = at.text("name"), at.text("eventSourceName"), at.text("eventName")
    source = subjects.sources.get(source_name, {}).get(event_name)
    if isinstance(source, str):
        raise ImportRefused(
            f"{at.place}: dependency '{name}' waits for events of kind '{source}', not of NATS",
            hint="triggers here read NATS: let the producer publish there, or leave the dependency to the sensor",
        )
    given = subjects.given.get(name, subjects.given.get("", ""))
    if source is None:
        source = EventSource(given or f"<subject of {source_name}/{event_name}>", known=False)
        if not given:
            report.fill_in(
                at,
                f"no EventSource says on which subject '{name}' ({source_name}/{event_name}) waits",
                "give --event-source FILE or --subject SUBJECT, or write it into the trigger's 'subject'",
            )
    elif given:
        source = EventSource(given, source.at, json_body=source.json_body, metadata=source.metadata)
    elif fault := subject_fault(source.subject, wildcards=True):
        report.fill_in(source.at or at, fault, "write the subject into the trigger")
    prefix, opaque = _transform(at, name, report)
    return Dependency(name, at, source_name, event_name, source, prefix, opaque)


def _transform(at: At, name: str, report: Report) -> tuple[tuple[str, ...], bool]:
    transform = at["transform"]
    if "script" not in transform and "jq" not in transform:
        return (), False
    prefix = jq_prefix(transform.text("jq")) if "jq" in transform else None
    if prefix is not None and "script" not in transform:
        return prefix, False
    report.left_out(
        transform,
        f"the transform of '{name}' is a program, which is not carried over",
        "filters and parameters that read its result are left out too: write them over 'event.data'",
    )
    return (), True
