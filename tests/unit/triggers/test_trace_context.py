from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta.trace.context import MAX_BAGGAGE, MAX_TRACESTATE, trace_of
from tests.support.messages import ENVELOPE, ce_headers, read, structured

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{'1' * 32}-{'2' * 16}-00"


def test_headers_of_any_case_continue_the_trace() -> None:
    event = read(b"{}", {"TraceParent": f" {PARENT} ", "TRACESTATE": "a=b", "Baggage": "user=x"})
    assert event.trace == {"traceparent": PARENT, "tracestate": "a=b", "baggage": "user=x"}


def test_a_cloudevents_extension_continues_the_trace_where_no_header_does() -> None:
    extension = {"traceparent": PARENT, "tracestate": "a=b"}
    expected = {"traceparent": PARENT, "tracestate": "a=b"}
    assert read(b"{}", ce_headers({**ENVELOPE, **extension})).trace == expected
    assert read(*structured({**extension})).trace == expected
    data, headers = structured({**extension})
    assert read(data, headers | {"traceparent": OTHER}).trace == {"traceparent": OTHER}
    assert read(data, headers | {"traceparent": "broken", "tracestate": "x=y"}).trace == expected


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-more",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"01-{TRACE}-{SPAN}-01-{'x' * 300}",
        f"01-{TRACE}-{SPAN}-01-é",
    ],
)
def test_a_malformed_traceparent_is_left_out_with_its_tracestate(parent: str) -> None:
    assert trace_of({"traceparent": parent, "tracestate": "a=b", "baggage": "k=v"}) == {"baggage": "k=v"}


def test_a_later_version_may_say_more() -> None:
    later = f"cc-{TRACE}-{SPAN}-01-what-comes"
    assert trace_of({"traceparent": later}) == {"traceparent": later}


def test_what_is_too_long_is_left_out() -> None:
    fits = {"traceparent": PARENT, "tracestate": "a" * MAX_TRACESTATE, "baggage": "b" * MAX_BAGGAGE}
    assert trace_of(fits) == fits
    assert trace_of({name: text + ("x" if name != "traceparent" else "") for name, text in fits.items()}) == {
        "traceparent": PARENT
    }


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "baggage"]), st.text()))
def test_whatever_a_header_holds_what_is_kept_is_ascii_and_bounded(source: dict[str, str]) -> None:
    for text in trace_of(source).values():
        assert text.isascii()
        assert len(text) <= MAX_BAGGAGE
