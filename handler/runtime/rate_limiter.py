"""How many requests per second this instance may send: additive increase, multiplicative decrease (AIMD).

Requests leave evenly spaced. Once a second the rate rises by a constant, and by more the longer nothing was
refused, and is cut by a multiple of the share of that second's requests that was throttled. Additive
increase and multiplicative decrease let several instances converge on equal parts of one limit without knowing
of each other (Chiu and Jain, 1989): all see the same share, and only one rate balances a rise and a share.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

# What leaves evenly does not arrive evenly: this much of the ceiling stays free, so that the API, too,
# sees no second above it.
HEADROOM = 0.02
CATCH_UP_SECONDS = 0.2  # a request that left late by as much does not delay those behind it …
CATCH_UP_RATE = 1.5  # … which leave at so many times the rate meanwhile: a burst would not arrive as one …
CATCH_UP_WINDOW = 8  # … taken over so many requests, because a sleeper wakes when it wakes
MOST_REMEMBERED = 100_000  # requests; nothing is as fast as that
IDLE_SECONDS = 1.0  # after a pause as long as this nothing is caught up
JUDGED_SECONDS = 1.0  # the API counts by the second
CUT = 2.0  # times the share that was throttled: the greater, the fewer are throttled before rates are in balance …
MAX_EXTRA_DECREASE = 0.1  # … but hardly more than the share itself where many are, as when an instance joins
RISE = 0.015  # of the ceiling, times one plus the square of …
RISE_GROWS_SECONDS = 2.0  # … the time of work without a refusal, in units of this
MIN_RATE = 1.0  # requests/s that throttling cannot push below, unless the ceiling is lower


class AdaptiveRateLimiter:
    """Lets requests pass, at most ``max_qps`` in any second. ``clock`` must never be set back."""

    def __init__(self, max_qps: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.ceiling = max_qps * (1 - HEADROOM)
        self._floor = min(MIN_RATE, self.ceiling)
        self._rate = self.ceiling
        self._next = 0.0
        # A second's worth of requests: what is caught up must not push any second above the ceiling.
        self._sent: deque[float] = deque(maxlen=max(1, int(min(round(self.ceiling), max_qps, MOST_REMEMBERED))))
        self._cut_at = self._first_answer_at = self._last_answer_at = clock()
        self._answers = self._refusals = 0
        self._clean_seconds = 0.0  # seconds of work without a refusal
        self._clock, self._sleep = clock, sleep
        self._turn = threading.Lock()
        self._feedback = threading.Lock()

    @property
    def rate(self) -> float:
        """Requests per second at present."""
        return self._rate

    def acquire(self, latest: float) -> bool:
        """Waits until a request may leave. False, at once, if that would be after ``latest``."""
        with self._turn:  # the one in front waits for the clock, the others wait for it
            now = self._clock()
            at = self._earliest(now)
            if at > latest:
                return False
            if at > now:
                self._sleep(at - now)
                now = max(at, self._clock())
            self._next = max(self._next, now - CATCH_UP_SECONDS) + 1 / self._rate
            self._sent.append(now)
            return True

    def _earliest(self, now: float) -> float:
        if now - self._next > IDLE_SECONDS:
            self._next = now
        window_opens = self._sent[0] + 1 if len(self._sent) == self._sent.maxlen else now
        evened = min(CATCH_UP_WINDOW, len(self._sent))
        no_burst = self._sent[-evened] + evened / (CATCH_UP_RATE * self._rate) if evened else now
        return max(now, self._next, window_opens, no_burst)

    def on_success(self, sent_at: float) -> None:
        """The API answered a request that left at ``sent_at``, and did not throttle it."""
        self._judge(sent_at, throttled=False)

    def on_throttled(self, sent_at: float) -> None:
        """The API throttled a request that left at ``sent_at``."""
        self._judge(sent_at, throttled=True)

    def _judge(self, sent_at: float, throttled: bool) -> None:
        with self._feedback:
            if sent_at < self._cut_at:
                return  # it left at the rate before
            now = self._clock()
            paused = now - self._last_answer_at > max(IDLE_SECONDS, 2 / self._rate)
            if paused or not self._answers:  # a pause is no time in which anything could have been refused
                self._first_answer_at, self._answers, self._refusals = now, 0, 0
            self._last_answer_at = now
            self._answers += 1
            self._refusals += throttled
            seconds = now - self._first_answer_at
            if seconds < JUDGED_SECONDS:
                return
            share = self._refusals / self._answers
            self._clean_seconds = 0.0 if share else self._clean_seconds + seconds
            self._cut_at = now if share else self._cut_at
            rise = RISE * self.ceiling * (1 + (self._clean_seconds / RISE_GROWS_SECONDS) ** 2)
            kept = max(0.0, 1 - min(CUT * share, share + MAX_EXTRA_DECREASE))
            self._rate = min(self.ceiling, max(self._floor, self._rate * kept + rise))
            self._answers = 0
