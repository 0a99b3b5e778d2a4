from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from io import StringIO

import ormsgpack
import pytest
from rich.console import Console

from meta.cli.event_render import (
    events_table,
    print_event,
    print_trigger_messages,
    printable,
    readable,
    replayed_line,
    triggers_table,
)
from meta.client import EventInfo, ReplayedInfo, TriggerInfo

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEAD = EventInfo(
    id="ev-0123456789ab", source="nats", subject="ml.x.ready", workflow="chain", trigger="datasets",
    identity="nats:id:7", outcome="dead", code="INPUTS_INVALID", reason="input 'rate': expected a number",
    hint="send 0.1", deliveries=3, event_time=AT, received_at=AT, headers={"x-own": "kept\x1b[2J"},
    data=b'{"rate": "fast", "\\u001b": "\xc3\xbc"}',
)  # fmt: skip


def console(width: int = 160) -> tuple[Console, StringIO]:
    out = StringIO()
    return Console(file=out, width=width, highlight=False), out


def test_a_list_of_events_has_a_line_each_with_the_run_or_the_reason() -> None:
    screen, out = console()
    started = DEAD.model_copy(update={"id": "ev-1", "outcome": "started", "run_id": "chain-9", "reason": ""})
    screen.print(events_table([DEAD, started]))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    for words in ("ev-0123456789ab", "2026-01-02 03:04:05", "chain", "ml.x.ready", "dead", "expected a number"):
        assert words in lines[1]
    assert "started" in lines[2]
    assert "chain-9" in lines[2]


def test_an_id_is_never_cut_however_narrow_the_terminal() -> None:
    screen, out = console(40)
    screen.print(events_table([DEAD]))
    assert DEAD.id in out.getvalue()


def test_an_event_shows_all_about_itself_and_what_to_do() -> None:
    screen, out = console()
    print_event(screen, DEAD)
    text = out.getvalue()
    for words in (
        "ev-0123456789ab dead", "workflow   chain", "trigger    datasets", "subject    ml.x.ready",
        "identity   nats:id:7", "nats, 3 deliveries", "reason INPUTS_INVALID\n  input 'rate': expected a number\n",
        "  send 0.1", "headers\n  x-own: kept\\x1b[2J", f"data (JSON, {len(DEAD.data)} bytes)\n  {{\n",
        '    "rate": "fast"', '"ü"', "meta events replay ev-0123456789ab",
    ):  # fmt: skip
        assert words in text, words
    assert "\x1b" not in text


def test_an_event_with_a_run_leads_to_it_and_shows_no_data() -> None:
    screen, out = console()
    started = {"outcome": "started", "run_id": "chain-9", "reason": "", "hint": "", "data": b"", "deliveries": 1}
    print_event(screen, DEAD.model_copy(update=started))
    text = out.getvalue()
    assert "meta get chain-9" in text
    assert "1 delivery" in text
    assert "reason" not in text
    assert "data" not in text.replace("datasets", "")
    assert "replay" not in text


@pytest.mark.parametrize(
    ("data", "headers", "kind", "words"),
    [
        (b'{"a": 1}', {}, "JSON", '"a": 1'),
        (b"7", {}, "JSON", "7"),
        (ormsgpack.packb({"a": [1, b"\xff"]}), {}, "MessagePack", '"ff"'),
        (ormsgpack.packb(7), {"Content-Type": "application/msgpack"}, "MessagePack", "7"),
        (b"\xc1", {"Content-Type": "application/msgpack"}, "hex", "c1"),
        (b"{not json \x1b[2J", {}, "text", "{not json \\x1b[2J"),
        (b"\xff\xfe\x00", {}, "hex", "fffe00"),
        (b"\xc1" * 5000, {}, "hex", "3,976 bytes more"),
        (b"[" * 50_000, {}, "text", "[[["),
        (b"", {}, "text", ""),
    ],
)
def test_data_are_shown_as_what_they_are(data: bytes, headers: dict[str, str], kind: str, words: str) -> None:
    found, text = readable(data, headers)
    assert found == kind
    assert words in text.replace("\n", "").replace(" ", "") or words in text


def test_nothing_of_a_message_reaches_the_terminal_as_control() -> None:
    assert printable("a\x1b[31m\x9b\r\0\ud800ü\t\n") == "a\\x1b[31m\\x9b\\r\\x00\\ud800ü\t\n"


def test_bytes_are_base64_for_programs() -> None:
    event = DEAD.model_copy(update={"data": b"\xff\xfe"})
    assert base64.urlsafe_b64decode(event.model_dump(mode="json")["data"]) == b"\xff\xfe"
    assert json.dumps(event.model_dump(mode="json"))


def test_a_replay_says_of_each_event_what_became_of_it() -> None:
    def line(**values: object) -> str:
        return replayed_line(ReplayedInfo.model_validate({"id": "ev-1", **values})).plain

    assert line(outcome="started", run_id="r", created=True) == "ev-1: started r"
    assert line(outcome="started", run_id="r") == "ev-1: its run is r"
    assert line(outcome="dead", reason="no") == "ev-1: stays dead: no"
    assert line(outcome="discarded", reason="when is false") == "ev-1: discarded: when is false"


def test_triggers_show_what_waits_and_say_each_trouble_once() -> None:
    active = TriggerInfo(
        workflow="chain", name="ready", subject="ml.ready", stream="ML", consumer="c", state="active", pending=3,
        unacknowledged=2,
    )  # fmt: skip
    new = TriggerInfo(workflow="chain", name="done", subject="ml.done")
    screen, out = console()
    screen.print(triggers_table([active, new]))
    text = out.getvalue()
    assert "3 + 2 under way" in text
    assert "new" in text.splitlines()[2]
    off = {"state": "off", "message": "NATS is not configured", "hint": "set nats.url"}
    failing = {"state": "failing", "message": "no stream", "hint": ""}
    screen, out = console()
    print_trigger_messages(
        screen, [active, new.model_copy(update=failing), *(one.model_copy(update=off) for one in (active, new))]
    )
    assert out.getvalue().splitlines() == [
        "chain/done: no stream",
        "chain/ready, chain/done: NATS is not configured",
        "  set nats.url",
    ]
