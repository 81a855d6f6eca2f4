"""How many requests per second this instance may send. What is being sent is not known here.

Requests leave evenly spaced. When the API throttles, the rate drops by a factor; when it answers,
the rate rises by a constant per second. Additive increase and multiplicative decrease let several
instances converge on equal shares of one limit without knowing of each other (Chiu and Jain, 1989).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

# A request that got up late may catch up by this much; the rate is lowered by as much, so that the
# sum stays under the ceiling in every second.
SLACK_SECONDS = 0.015
IDLE_SECONDS = 1.0  # nothing is caught up after a pause as long as this
DECREASE = 0.7
INCREASE_SHARE = 0.05  # of the ceiling, per second of sending
# The API counts by the second: what a cut did shows only in the next one.
CUT_SECONDS = 1.0
SLOWEST = 1.0  # requests/s that throttling cannot push below, unless the ceiling is lower


class Pacer:
    """Lets requests pass, at most ``max_qps`` in any second."""

    def __init__(self, max_qps: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.ceiling = max_qps / (1 + SLACK_SECONDS)
        self._floor = min(SLOWEST, self.ceiling)
        self._rate = self.ceiling
        self._next = 0.0
        self._cut_at = float("-inf")
        self._clock, self._sleep = clock, sleep
        self._turn = threading.Lock()
        self._feedback = threading.Lock()

    @property
    def rate(self) -> float:
        """Requests per second at present."""
        return self._rate

    def wait_turn(self, latest: float) -> bool:
        """Waits until a request may leave. False, at once, if that would be after ``latest``."""
        with self._turn:  # the one in front waits for the clock, the others wait for it
            now = self._clock()
            interval = 1 / self._rate
            if now - self._next > IDLE_SECONDS:
                self._next = now
            # The second bound is for a clock that was set back.
            at = min(max(now, self._next), now + interval)
            if at > latest:
                return False
            if at > now:
                self._sleep(at - now)
                now = max(at, self._clock())
            self._next = max(self._next, now - SLACK_SECONDS) + interval
            return True

    def answered(self) -> None:
        """The API answered a request, and did not throttle it."""
        with self._feedback:
            self._rate = min(self.ceiling, self._rate + self.ceiling * INCREASE_SHARE / self._rate)

    def throttled(self, sent_at: float) -> None:
        """The API throttled a request that left at ``sent_at``."""
        with self._feedback:
            if sent_at >= self._cut_at + CUT_SECONDS:
                self._cut_at = self._clock()
                self._rate = max(self._floor, self._rate * DECREASE)
