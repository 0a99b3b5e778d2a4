"""The circuit breaker: when it opens, whom it lets through, when it closes."""

from __future__ import annotations

import pytest

from workers.circuit import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Circuit, CircuitState, KeptBack


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit("argo", clock)


def fail(circuit: Circuit, times: int = FAILURES) -> None:
    for _ in range(times):
        circuit.failed("no answer")


def refused(circuit: Circuit) -> KeptBack:
    with pytest.raises(KeptBack) as caught:
        circuit.enter()
    return caught.value


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not(circuit: Circuit) -> None:
    fail(circuit, FAILURES - 1)
    circuit.succeeded()
    fail(circuit, FAILURES - 1)
    circuit.enter()
    circuit.failed("no answer")
    found = refused(circuit)
    assert found.down
    assert found.reason == "no answer"
    assert 0 < found.retry_after <= FIRST_PAUSE
    assert circuit.view().state is CircuitState.OPEN


def test_after_the_pause_one_probe_goes_through_and_no_other(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    clock.now += FIRST_PAUSE
    circuit.enter()
    assert circuit.view().state is CircuitState.HALF_OPEN
    assert refused(circuit).retry_after <= FIRST_PAUSE
    circuit.succeeded()
    circuit.enter()
    circuit.enter()
    assert circuit.view().state is CircuitState.CLOSED


def test_the_pause_grows_with_each_probe_that_fails_up_to_a_limit(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    since = circuit.view().since
    pauses: list[float] = []
    for _ in range(12):
        clock.now += LONGEST_PAUSE
        circuit.enter()
        circuit.failed("still down")
        pauses.append(refused(circuit).retry_after)
    assert pauses[0] < pauses[-1] <= LONGEST_PAUSE
    assert pauses[-1] >= LONGEST_PAUSE / 2
    assert circuit.view().since == since  # it is down since it failed, whatever was tried


def test_a_probe_that_never_reports_does_not_close_the_door_for_ever(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    clock.now += FIRST_PAUSE
    circuit.enter()
    clock.now += 61
    circuit.enter()


def test_failures_of_calls_that_were_under_way_do_not_lengthen_the_pause(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    before = refused(circuit).retry_after
    fail(circuit, 20)
    assert refused(circuit).retry_after == before


def test_a_pause_that_the_engine_asked_for_is_kept_and_is_no_failure(circuit: Circuit, clock: Clock) -> None:
    circuit.succeeded()
    circuit.pause(5.0, "429: too many requests")
    found = refused(circuit)
    assert not found.down
    assert found.retry_after == 5.0
    assert circuit.view().state is CircuitState.CLOSED
    clock.now += 5.1
    circuit.enter()
    circuit.pause(3600.0, "429")
    assert refused(circuit).retry_after == LONGEST_PAUSE
