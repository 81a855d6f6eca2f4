"""The rate limiter: even, under its ceiling in every second, and fair."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.runtime.rate_limiter import CATCH_UP_RATE, CATCH_UP_SECONDS, CATCH_UP_WINDOW, RISE, AdaptiveRateLimiter
from tests.support import FakeClock

FOREVER = float("inf")


def limiter_at(max_qps: float) -> tuple[AdaptiveRateLimiter, FakeClock]:
    clock = FakeClock()
    return AdaptiveRateLimiter(max_qps, clock, clock.sleep), clock


def sent(limiter: AdaptiveRateLimiter, clock: FakeClock, count: int) -> list[float]:
    times = []
    for _ in range(count):
        assert limiter.acquire(FOREVER)
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
    limiter, clock = limiter_at(max_qps)
    times = sent(limiter, clock, 1000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) < 1.05 * min(gaps)
    assert 0.97 * max_qps < 1 / gaps[0] < max_qps


@given(
    max_qps=st.floats(0.2, 500),
    delays=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 5)), min_size=50, max_size=300),
)
def test_no_second_ever_sees_more_than_the_ceiling_however_late_the_sender_is(
    max_qps: float, delays: list[float]
) -> None:
    limiter, clock = limiter_at(max_qps)
    times = []
    for delay in delays:
        clock.now += delay
        times += sent(limiter, clock, 1)
    assert most_in_a_second(times) <= max(1, int(max_qps))


def test_a_sleeper_that_wakes_late_catches_up_but_not_all_at_once() -> None:
    clock = FakeClock()
    limiter = AdaptiveRateLimiter(200, clock, lambda seconds: clock.sleep(seconds + 0.004))
    times = sent(limiter, clock, 400)
    assert 400 / (times[-1] - times[0]) > 0.97 * limiter.ceiling
    assert most_in_a_second(times) <= 200


def test_a_long_stall_is_not_caught_up() -> None:
    limiter, clock = limiter_at(100)
    sent(limiter, clock, 50)
    clock.now += 0.6
    stalled_until = clock()
    times = sent(limiter, clock, 100)
    soon = [time for time in times if time < stalled_until + 0.5]
    assert len(soon) == pytest.approx(50 + 100 * CATCH_UP_SECONDS, abs=3)
    for first, time in zip(times, times[CATCH_UP_WINDOW:], strict=False):
        assert time - first > CATCH_UP_WINDOW / (1.01 * CATCH_UP_RATE * 100), "a burst"


def test_no_turn_comes_after_the_deadline_and_none_is_waited_for() -> None:
    limiter, clock = limiter_at(1)
    assert limiter.acquire(clock() + 0.5)
    assert not limiter.acquire(clock() + 0.5)
    assert not clock.slept


def second(limiter: AdaptiveRateLimiter, clock: FakeClock, throttled: int, answered: int) -> None:
    """A second in which so many requests are answered so."""
    sent_at = clock()
    for number in range(throttled + answered):
        clock.now += 1.01 / (throttled + answered - 1) if number else 0
        (limiter.on_throttled if number < throttled else limiter.on_success)(sent_at)


@pytest.mark.parametrize(
    ("throttled", "kept"), [(1, 0.98), (4, 0.92), (9, 0.82), (50, 0.4), (90, 0.0)], ids="{} of a hundred".format
)
def test_throttling_cuts_the_rate_by_twice_its_share_and_hardly_more_than_the_share_where_that_is_large(
    throttled: int, kept: float
) -> None:
    limiter, clock = limiter_at(200)
    full = limiter.rate
    second(limiter, clock, throttled=0, answered=100)
    assert limiter.rate == full
    second(limiter, clock, throttled, answered=100 - throttled)
    assert limiter.rate == pytest.approx(full * (kept + RISE), rel=0.01)


def test_answers_restore_the_rate_slowly_at_first() -> None:
    limiter, clock = limiter_at(200)
    full = limiter.rate
    second(limiter, clock, throttled=100, answered=0)
    began, rises = clock(), []
    while limiter.rate < full and clock() - began < 100:
        before = limiter.rate
        second(limiter, clock, throttled=0, answered=20)
        rises.append(limiter.rate - before)
    assert limiter.rate == full
    assert rises[0] < 6 < rises[-2]
    assert 8 < clock() - began < 15


def test_a_stray_refusal_is_made_up_for_within_two_seconds() -> None:
    limiter, clock = limiter_at(200)
    full = limiter.rate
    second(limiter, clock, throttled=1, answered=195)
    assert 0.98 * full < limiter.rate
    for _ in range(2):
        second(limiter, clock, throttled=0, answered=196)
    assert limiter.rate == full


def test_what_left_before_a_cut_is_not_held_against_the_rate_after_it() -> None:
    limiter, clock = limiter_at(200)
    before = clock()
    second(limiter, clock, throttled=50, answered=50)
    cut = limiter.rate
    for _ in range(100):
        clock.now += 0.02
        limiter.on_throttled(before)
    assert limiter.rate == cut


def test_refusals_that_come_late_count_all_the_same() -> None:
    """A limit of 100 in any second; answers take 50 ms, refusals 1.2 s."""
    limiter, clock = limiter_at(200)
    began, sent_late, happenings = clock(), 0, [(clock(), "send", 0.0)]
    window: deque[float] = deque()
    while clock() < began + 60:
        clock.now, what, sent_at = heapq.heappop(happenings)
        if what == "send":
            sent_late += clock() > began + 30
            while window and window[0] <= clock() - 1:
                window.popleft()
            let_in = len(window) < 100
            window.extend([clock()] if let_in else [])
            answer = (clock() + 0.05, "answered", clock()) if let_in else (clock() + 1.2, "throttled", clock())
            heapq.heappush(happenings, answer)
            heapq.heappush(happenings, (clock() + 1 / limiter.rate, "send", 0.0))
        else:
            (limiter.on_success if what == "answered" else limiter.on_throttled)(sent_at)
    assert 80 < sent_late / 30 < 115


def test_one_refusal_after_a_pause_is_not_a_second_in_which_all_were_refused() -> None:
    limiter, clock = limiter_at(200)
    full = limiter.rate
    clock.now += 600
    limiter.on_throttled(clock())
    assert limiter.rate == full
    second(limiter, clock, throttled=0, answered=99)
    assert limiter.rate > 0.97 * full


def test_what_was_learned_outlives_a_pause() -> None:
    limiter, clock = limiter_at(200)
    second(limiter, clock, throttled=60, answered=40)
    cut = limiter.rate
    limiter.on_success(clock())
    clock.now += 600
    limiter.on_success(clock())
    assert limiter.rate == cut
    second(limiter, clock, throttled=0, answered=40)
    assert limiter.rate < cut + 2 * RISE * limiter.ceiling


@pytest.mark.parametrize(("max_qps", "trickle"), [(0.5, 0.49), (10, 1.0), (200, 2.94)])
def test_throttling_without_end_leaves_a_trickle(max_qps: float, trickle: float) -> None:
    limiter, clock = limiter_at(max_qps)
    for _ in range(100):
        second(limiter, clock, throttled=10, answered=0)
    assert limiter.rate == pytest.approx(trickle)


@pytest.mark.parametrize(("instances", "most_throttled"), [(2, 0.1), (4, 0.1), (8, 0.1), (16, 0.2)])
def test_instances_that_know_nothing_of_each_other_end_with_equal_shares(instances: int, most_throttled: float) -> None:
    """A limit of 200 in any second, 50 ms away; they start one after the other; 20 s after the last it counts."""
    clock, chance = FakeClock(), random.Random(1)
    began = clock()
    limiters = [AdaptiveRateLimiter(200, clock, clock.sleep) for _ in range(instances)]
    happenings = [(began + 3 * number, number, "send", 0.0) for number in range(instances)]
    window: deque[float] = deque()
    answered, throttled = [0] * instances, 0
    settled, seconds = began + 3 * instances + 20, 60
    while clock() < settled + seconds:
        clock.now, number, what, sent_at = heapq.heappop(happenings)
        counts = clock() > settled
        if what == "send":
            while window and window[0] <= clock() - 1:
                window.popleft()
            let_in = len(window) < 200
            if let_in:
                window.append(clock())
            heapq.heappush(happenings, (clock() + 0.05, number, "answered" if let_in else "throttled", clock()))
            # No two machines keep time alike.
            pause = chance.uniform(0.5, 1.5) / limiters[number].rate
            heapq.heappush(happenings, (clock() + pause, number, "send", 0.0))
        elif what == "answered":
            limiters[number].on_success(sent_at)
            answered[number] += counts
        else:
            limiters[number].on_throttled(sent_at)
            throttled += counts
    jain = sum(answered) ** 2 / (instances * sum(count**2 for count in answered))
    assert jain > 0.9
    assert sum(answered) > 0.93 * 200 * seconds
    assert throttled < most_throttled * sum(answered)
