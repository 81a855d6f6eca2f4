"""The pace: even, under its ceiling in every second, and fair."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.pacer import CUT_SECONDS, DECREASE, Pacer
from tests.support import FakeClock

FOREVER = float("inf")


def pacer(max_qps: float) -> tuple[Pacer, FakeClock]:
    clock = FakeClock()
    return Pacer(max_qps, clock, clock.sleep), clock


def sent(pace: Pacer, clock: FakeClock, count: int) -> list[float]:
    times = []
    for _ in range(count):
        assert pace.wait_turn(FOREVER)
        times.append(clock())
    return times


def most_in_a_second(times: list[float]) -> int:
    first, most = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("max_qps", [0.5, 1, 3, 200, 400])
def test_requests_leave_evenly_spaced_just_under_the_ceiling(max_qps: float) -> None:
    pace, clock = pacer(max_qps)
    times = sent(pace, clock, 1000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) < 1.05 * min(gaps)
    assert 0.98 * max_qps < 1 / gaps[0] < max_qps


@given(
    max_qps=st.floats(0.2, 500),
    delays=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 5)), min_size=50, max_size=300),
)
def test_no_second_ever_sees_more_than_the_ceiling_however_late_the_sender_is(
    max_qps: float, delays: list[float]
) -> None:
    pace, clock = pacer(max_qps)
    times = []
    for delay in delays:
        clock.now += delay
        times += sent(pace, clock, 1)
    assert most_in_a_second(times) <= max(1, int(max_qps))


def test_a_sleeper_that_wakes_late_catches_up_but_not_all_at_once() -> None:
    clock = FakeClock()
    pace = Pacer(200, clock, lambda seconds: clock.sleep(seconds + 0.004))
    times = sent(pace, clock, 400)
    assert 400 / (times[-1] - times[0]) > 0.97 * pace.ceiling
    assert most_in_a_second(times) <= 200


def test_no_turn_comes_after_the_deadline_and_none_is_waited_for() -> None:
    pace, clock = pacer(1)
    assert pace.wait_turn(clock() + 0.5)
    assert not pace.wait_turn(clock() + 0.5)
    assert not clock.slept


def test_a_clock_that_is_set_back_does_not_stop_the_pace() -> None:
    pace, clock = pacer(10)
    sent(pace, clock, 5)
    clock.now -= 3600
    began = clock()
    sent(pace, clock, 10)
    assert clock() - began < 1.2


def test_throttling_cuts_the_rate_once_a_second_and_answers_restore_it() -> None:
    pace, clock = pacer(200)
    full = pace.rate
    sent_at = clock()
    for _ in range(30):  # all that was in flight
        pace.throttled(sent_at)
    assert pace.rate == pytest.approx(full * DECREASE)
    clock.now += CUT_SECONDS + 0.01
    pace.throttled(clock())
    assert pace.rate == pytest.approx(full * DECREASE**2)
    while pace.rate < full:
        before = pace.rate
        sent(pace, clock, 1)
        pace.answered()
        assert pace.rate > before
    assert 5 < clock() - sent_at < 20


def test_throttling_without_end_leaves_a_trickle() -> None:
    pace, clock = pacer(200)
    for _ in range(100):
        clock.now += 2
        pace.throttled(clock())
    assert pace.rate == 1.0


def test_instances_that_know_nothing_of_each_other_end_with_equal_shares() -> None:
    """A limit of 200 a second, counted over a sliding second; one instance comes in late."""
    clock = FakeClock()
    paces = [Pacer(200, clock, clock.sleep) for _ in range(4)]
    next_at = [0.0, 0.01, 0.02, 20.0]
    window: list[float] = []
    answered, throttled = [0] * 4, 0
    began = clock.now
    while clock.now - began < 120:
        turn = min(range(4), key=next_at.__getitem__)
        clock.now = began + next_at[turn]
        window = [time for time in window if time > clock.now - 1]
        settled = clock.now - began > 60
        if len(window) >= 200:
            paces[turn].throttled(clock.now)
            throttled += settled
        else:
            window.append(clock.now)
            paces[turn].answered()
            answered[turn] += settled
        next_at[turn] += 1 / paces[turn].rate
    jain = sum(answered) ** 2 / (4 * sum(count**2 for count in answered))
    assert jain > 0.9
    assert sum(answered) > 0.85 * 200 * 60
    assert throttled < 0.1 * sum(answered)
