"""What the functions of the runtime hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from handler.core.plan import Moment
from handler.runtime.deadline import Deadline
from handler.runtime.gate import Gate
from handler.runtime.hourly import Hourly
from handler.runtime.queue import Queue
from handler.runtime.rate_limiter import AdaptiveRateLimiter
from handler.runtime.tally import Tally

if TYPE_CHECKING:
    from handler.core.ports import Ledger, Live, Workers

# Writes the dead letter of a message: its number in the delivery, the details, and what it is about ("": all of it).
PutMessageLetter = Callable[[int, Sequence[str], str], None]


class Runtime(NamedTuple):
    """What outlives a batch: ports, clocks, and what the deployment decides.

    ``clock``: unix seconds. ``ticks``: seconds that pass; never set back. ``sleep``: takes seconds. ``random``: returns
    a number from 0 to 1. ``allows``: whether a stream is this deployment's business. ``others``: of the tasks of other
    deployments, which had a line within the last hour. ``concurrency``: requests in flight.
    """

    live: Live
    ledger: Ledger
    workers: Workers
    limiter: AdaptiveRateLimiter
    clock: Callable[[], float]
    ticks: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    allows: Callable[[str], bool]
    others: Hourly
    concurrency: int
    dry_run: bool


class Context:
    """One batch: what it works with, and what its workers share."""

    def __init__(
        self, runtime: Runtime, moment: Moment, deadline: Deadline, queue: Queue, put_message_letter: PutMessageLetter
    ) -> None:
        self.runtime, self.moment, self.deadline, self.queue = runtime, moment, deadline, queue
        self.put_message_letter = put_message_letter
        self.tally, self.gate = Tally(), Gate()
