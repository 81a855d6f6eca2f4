"""The entry: wires the rooms for one invocation. No rule lives here."""

from __future__ import annotations

import os
import random as random_module
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from handler import planner, triggers
from handler.crew import Crew
from handler.ledger import Due, MemoryLedger
from handler.live import LiveApi
from handler.model import Outcome, Reason, Report, Result
from handler.pacer import Pacer
from handler.reaper import Deadline, Reaper
from handler.settings import Settings, SettingsError
from handler.telemetry import Invocation

Handler = Callable[[Any, Any], dict[str, Any]]


class RedeliveryNeeded(Exception):
    """Something could not be done yet: raised after all telemetry, so that the trigger delivers again."""


def build(
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random_module.random,
) -> Handler:
    """A handler of its own: cold, and without connections.

    Args:
        clock: returns unix seconds.
        sleep: takes seconds.
        random: returns a number from 0 to 1.
    """
    return _Instance(clock, sleep, random).main_handler


class _Instance:
    """What survives from one warm invocation to the next: threads with their connections, and the pace."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None], random: Callable[[], float]) -> None:
        self._clock, self._sleep, self._random = clock, sleep, random
        self._crew = Crew()
        self._cold = True
        self._made_for: tuple[Settings, float] | None = None

    def main_handler(self, event: Any, context: Any) -> dict[str, Any]:
        """Handles one event of any trigger. Returns the invocation line.

        Raises:
            SettingsError: the environment cannot be used; nothing was done.
            RedeliveryNeeded: something is deferred, and no ledger holds it.
        """
        started = self._clock()
        invocation = Invocation(triggers.request_id(context), cold_start=self._cold)
        self._cold = False
        error: Exception | None = None
        cause: Exception | None = None
        try:
            deadline = Deadline.after(started, triggers.time_limit(context))
            report = self._handle(event, deadline, invocation)
            error = _redelivery_of(report)
        except SettingsError as unusable:
            error = unusable
        except Exception as bug:  # noqa: BLE001  a mistake of ours: nothing may be taken for done
            error, cause = RedeliveryNeeded(f"internal error: {type(bug).__name__}: {bug}"), bug
        invocation.error = str(error) if error else None
        invocation.duration_ms = round((self._clock() - started) * 1000, 1)
        line = invocation.write()
        if error:
            raise error from cause
        return line

    def _handle(self, event: Any, deadline: Deadline, invocation: Invocation) -> Report:
        delivery = triggers.read(event)
        invocation.source = delivery.source
        settings = Settings.read(os.environ)
        invocation.dry_run = settings.dry_run
        ledger, now = MemoryLedger(), self._clock()
        planned = planner.plan(delivery, now, settings, ledger)
        invocation.messages = len(planned)
        report = self._work_off(list(ledger.due(now)), settings, deadline)
        invocation.count_calls(report)
        invocation.write_tasks(planner.lines(planned, report.results), settings.log_tasks == "problems")
        return report

    def _work_off(self, due: list[Due], settings: Settings, deadline: Deadline) -> Report:
        if settings.dry_run:
            return Report({item.task: Result(Outcome.PLANNED, Reason.DRY_RUN) for item in due})
        if not due:
            return Report()
        if self._made_for != (settings, deadline.request_timeout):
            self._live = LiveApi(settings.live_endpoint, deadline.request_timeout)
            pacer = Pacer(settings.max_qps, self._clock, self._sleep)
            self._reaper = Reaper(pacer, self._crew, self._clock, self._sleep, self._random)
            self._made_for = (settings, deadline.request_timeout)
        return self._reaper.work_off(due, self._live.client, deadline, settings.concurrency)


def _redelivery_of(report: Report) -> RedeliveryNeeded | None:
    deferred = [result for result in report.results.values() if result.outcome is Outcome.DEFERRED]
    if not deferred:
        return None
    reasons = Counter(result.reason.value for result in deferred if result.reason)
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return RedeliveryNeeded(f"{len(deferred)} of {len(report.results)} due tasks could not be deleted yet ({listed})")


main_handler = build()
