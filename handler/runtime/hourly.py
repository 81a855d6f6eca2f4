"""What is said at most once an hour by one instance."""

from __future__ import annotations

import threading

from handler.core.model import RecordTask

HOUR = 3_600.0
MOST_REMEMBERED = 10_000  # tasks; what is beyond has a line each time


class Hourly:
    """Remembers which tasks had their line within the last hour."""

    def __init__(self) -> None:
        self._last: dict[RecordTask, float] = {}
        self._lock = threading.Lock()

    def is_time_for(self, task: RecordTask, now: float) -> bool:
        """Whether ``task`` is to have a line at ``now`` (unix seconds); if so, it has none for an hour."""
        with self._lock:
            if now < self._last.get(task, -HOUR) + HOUR:
                return False
            if len(self._last) >= MOST_REMEMBERED:
                self._last = {other: at for other, at in self._last.items() if now < at + HOUR}
            if len(self._last) < MOST_REMEMBERED:
                self._last[task] = now
            return True
