"""Until when an invocation may do what."""

from __future__ import annotations

from typing import NamedTuple

LONGEST_REQUEST_SECONDS = 10.0
REPORTING_SECONDS = 3.0


class Deadline(NamedTuple):
    """Moments on a clock that measures time that passes, and the seconds that one request may take."""

    request_timeout: float
    last_start: float  # a request that starts by now can still finish
    end: float  # answers are not waited for any longer: what is left is for reporting
    limit: float | None = None  # seconds: the function's own time limit, where requests are that short because of it

    @classmethod
    def after(cls, started: float, limit: float) -> Deadline:
        """The deadline of an invocation that ``started`` and that the platform stops ``limit`` seconds later."""
        request_timeout = min(LONGEST_REQUEST_SECONDS, limit / 4)
        end = started + limit - min(REPORTING_SECONDS, limit / 10)
        is_short = request_timeout < LONGEST_REQUEST_SECONDS
        return cls(request_timeout, end - request_timeout, end, limit if is_short else None)

    def leaving(self, seconds: float) -> Deadline:
        """The same, with ``seconds`` more between the last start and the end: to write down what came of it."""
        return self._replace(last_start=self.last_start - seconds)
