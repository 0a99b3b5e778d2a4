"""How events and triggers look in a terminal. What messages say is shown with its control characters written out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import ormsgpack
from rich.console import Console
from rich.text import Text

from meta.cli.listing import print_list
from meta.client import EventInfo, ReplayedInfo, TriggerInfo
from workflows.spec.models import MetaWorkflow

_STYLES = {
    "started": "green",
    "held": "cyan",
    "dead": "bold red",
    "discarded": "dim",
    "active": "green",
    "failing": "bold red",
    "off": "yellow",
    "ending": "yellow",
}
_HEX_LINE, _HEX_MOST = 32, 1024  # bytes
_CONTENT_TYPES = ("content-type", "ce-datacontenttype")


def printable(text: str) -> str:
    """Text of a message, harmless to a terminal: control characters but line ends and tabs are written out."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def print_events(console: Console, events: Sequence[EventInfo]) -> None:
    """Events, a line each, and below it why one could start no run."""
    print_list(
        console,
        ("event", "received", "workflow", "outcome", "subject", "run"),
        [
            (
                (
                    one.id, _time(one.received_at), printable(one.workflow), outcome_text(one.outcome),
                    printable(one.subject), one.run_id,
                ),
                printable(one.reason).splitlines(),
            )
            for one in events
        ],
    )  # fmt: skip


def outcome_text(outcome: str) -> Text:
    return Text(outcome, style=_STYLES.get(outcome, ""))


def print_event(console: Console, event: EventInfo) -> None:
    """All about a message."""
    console.print(Text.assemble((event.id, "bold"), " ", outcome_text(event.outcome)))
    deliveries = f"{event.deliveries} deliver{'y' if event.deliveries == 1 else 'ies'}"
    for name, value in (
        ("workflow", event.workflow),
        ("trigger", event.trigger),
        ("subject", event.subject),
        ("identity", event.identity),
        ("source", f"{event.source}, {deliveries}"),
        ("event time", _time(event.event_time)),
        ("received", _time(event.received_at)),
        ("updated", _time(event.updated_at)),
        ("run", f"{event.run_id}   (meta get {event.run_id})" if event.run_id else ""),
    ):
        if value:
            console.print(Text(f"  {name:<11}{printable(value)}"), soft_wrap=True)
    if event.reason:
        console.print(Text(f"reason {event.code}".rstrip(), style="bold"))
        print_reason(console, event.reason, event.hint)
    if event.headers:
        console.print(Text("headers", style="bold"))
        for name, value in event.headers.items():
            console.print(Text(printable(f"  {name}: {value}")), soft_wrap=True)
    if event.outcome in ("dead", "held"):
        kind, text = readable(event.data, event.headers)
        console.print(Text(f"data ({kind}, {len(event.data):,} bytes)" if event.data else "no data", style="bold"))
        for line in text.splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)
    if event.outcome == "dead":
        console.print(Text(f"try it again: meta events replay {event.id}", style="dim"), soft_wrap=True)


def print_reason(console: Console, reason: str, hint: str) -> None:
    """Words of an error, indented, and the mend."""
    for style, words in (("red", reason), ("yellow", hint)):
        for line in printable(words).splitlines():
            console.print(Text(f"  {line}", style=style), soft_wrap=True)


def readable(data: bytes, headers: Mapping[str, str]) -> tuple[str, str]:
    """What a message's data are, and how to show them.

    Args:
        data: as they came.
        headers: of the message; a content type decides where bytes could be read in two ways.

    Returns:
        JSON, MessagePack, text or hex; and the words.
    """
    types = [value.lower() for name, value in headers.items() if name.lower() in _CONTENT_TYPES]
    packed = any("msgpack" in value for value in types)
    if packed and (text := _unpacked(data, anything=True)) is not None:
        return "MessagePack", text
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None:
        try:
            return "JSON", printable(json.dumps(json.loads(text), ensure_ascii=False, indent=2))
        except (ValueError, RecursionError):
            pass
    if (found := _unpacked(data, anything=False)) is not None:
        return "MessagePack", found
    if text is not None:
        return "text", printable(text)
    lines = [data[at : at + _HEX_LINE].hex(" ", 4) for at in range(0, min(len(data), _HEX_MOST), _HEX_LINE)]
    if len(data) > _HEX_MOST:
        lines.append(f"... {len(data) - _HEX_MOST:,} bytes more; --output json has all")
    return "hex", "\n".join(lines)


def _unpacked(data: bytes, *, anything: bool) -> str | None:
    """MessagePack as JSON; None when it is none. Most bytes are some MessagePack, so only maps and lists count."""
    try:
        value: object = ormsgpack.unpackb(data, option=ormsgpack.OPT_NON_STR_KEYS)
        if not anything and not isinstance(value, dict | list):
            return None
        return printable(json.dumps(value, ensure_ascii=False, indent=2, default=_hex))
    except (ValueError, TypeError, RecursionError):
        return None


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def replayed_line(one: ReplayedInfo) -> Text:
    """What became of replaying an event."""
    if one.run_id:
        return Text(f"{one.id}: {'started' if one.created else 'its run is'} {one.run_id}")
    words = "stays dead" if one.outcome == "dead" else one.outcome
    style = "red" if one.outcome == "dead" else "yellow"
    return Text(f"{one.id}: {words}: {printable(one.reason)}", style=style)


def print_triggers(console: Console, triggers: Sequence[TriggerInfo]) -> None:
    """Triggers, a line each, and below it the stream and the consumer, where there are some."""
    print_list(
        console,
        ("workflow", "trigger", "state", "subject", "waiting"),
        [
            (
                (
                    one.workflow, one.name, Text(one.state or "new", style=_STYLES.get(one.state, "")), one.subject,
                    _waiting(one),
                ),
                [f"stream {one.stream}, consumer {one.consumer}"] if one.stream else [],
            )
            for one in triggers
        ],
    )  # fmt: skip


def _waiting(trigger: TriggerInfo) -> str:
    if trigger.pending is None:
        return ""
    return f"{trigger.pending}" + (f" + {trigger.unacknowledged} under way" if trigger.unacknowledged else "")


def print_trigger_messages(console: Console, triggers: Sequence[TriggerInfo]) -> None:
    """What is to be said of triggers, the same words once for all that they are of."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for one in triggers:
        if one.message:
            said.setdefault((one.state, one.message, one.hint), []).append(f"{one.workflow}/{one.name}")
    for (state, message, hint), names in said.items():
        style = "red" if state == "failing" else "yellow"
        console.print(Text(f"{', '.join(names)}: {printable(message)}", style=style), soft_wrap=True)
        if hint:
            console.print(Text(f"  {printable(hint)}", style="yellow"), soft_wrap=True)


def trigger_lines(definition: MetaWorkflow) -> list[str]:
    """The triggers of a definition, as `ml.datasets.*.ready -> chain` and `0 3 * * * -> chain`."""
    lines: list[str] = []
    for trigger in definition.triggers:
        what, name = "", None
        if trigger.nats is not None:
            what, name = trigger.nats.subject, trigger.nats.name
        elif trigger.schedule is not None:
            what, name = trigger.schedule.times, trigger.schedule.name
        lines.append(f"{what} -> {definition.name}" + (f" ({name})" if name else ""))
    return lines


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else ""
