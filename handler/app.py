"""The entry: wires the rooms for one invocation. No rule lives here."""

from __future__ import annotations

import os
import random as random_module
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

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
Made = TypeVar("Made")


class RedeliveryNeeded(Exception):
    """Something could not be done yet: raised after all telemetry, so that the trigger delivers again."""


def build(
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random_module.random,
) -> Handler:
    """A handler of its own: cold, and without connections.

    Args:
        clock: returns unix seconds. With the default, time that passes is measured by the monotonic clock.
        sleep: takes seconds.
        random: returns a number from 0 to 1.
    """
    return _Instance(clock, time.monotonic if clock is time.time else clock, sleep, random).main_handler


class _Instance:
    """What survives from one warm invocation to the next: threads with their connections, and the pace."""

    def __init__(
        self,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        self._clock, self._ticks, self._sleep, self._random = clock, ticks, sleep, random
        self._crew = Crew()
        self._cold = True
        self._live = _Kept(LiveApi)
        self._reaper = _Kept(self._new_reaper)

    def main_handler(self, event: Any, context: Any) -> dict[str, Any]:
        """Handles one event of any trigger. Returns the invocation line.

        Raises:
            SettingsError: the environment cannot be used; nothing was done.
            RedeliveryNeeded: something is deferred, and no ledger holds it.
        """
        began = self._ticks()
        invocation = Invocation(triggers.request_id(context), cold_start=self._cold)
        self._cold = False
        error: Exception | None = None
        try:
            deadline = Deadline.after(began, triggers.time_limit(context))
            error = _redelivery_for(self._handle(event, deadline, invocation))
        except SettingsError as unusable:
            error = unusable
        except Exception as bug:  # noqa: BLE001  a mistake of ours: nothing may be taken for done
            error = _internal_error(bug)
        invocation.error = str(error) if error else None
        invocation.duration_ms = round((self._ticks() - began) * 1000, 1)
        try:
            line = invocation.write()
        except Exception as bug:
            raise error or _internal_error(bug) from bug
        if error:
            raise error
        return line

    def _handle(self, event: Any, deadline: Deadline, invocation: Invocation) -> Counter[str]:
        """Does it all; returns what was deferred, by reason."""
        delivery = triggers.read(event)
        invocation.source = delivery.source
        settings = Settings.read(os.environ)
        invocation.dry_run = settings.dry_run
        ledger, now = MemoryLedger(), self._clock()
        plan = planner.plan(delivery, now, settings, ledger, lambda: self._ticks() < deadline.last_start)
        invocation.messages = len(plan.planned) + plan.more_rejected
        report = self._work_off(list(ledger.due(now)), settings, deadline)
        invocation.count_calls(report)
        lines = planner.lines(plan.planned, report.results)
        deferred = invocation.write_tasks(lines, settings.log_tasks == "problems")
        invocation.count_untold(plan.more_rejected)
        return deferred

    def _work_off(self, due: list[Due], settings: Settings, deadline: Deadline) -> Report:
        if settings.dry_run:
            return Report({item.task: Result(Outcome.PLANNED, Reason.DRY_RUN) for item in due})
        if not due:
            return Report()
        live = self._live.made_for(settings.live_endpoint, deadline.request_timeout)
        reaper = self._reaper.made_for(settings)
        return reaper.work_off(due, live.client, self._clock(), deadline, settings.concurrency)

    def _new_reaper(self, settings: Settings) -> Reaper:
        pacer = Pacer(settings.max_qps, self._ticks, self._sleep)
        return Reaper(pacer, self._crew, self._ticks, self._sleep, self._random)


class _Kept(Generic[Made]):
    """Something that is made anew only when what it is made for changes."""

    def __init__(self, make: Callable[..., Made]) -> None:
        self._make = make
        self._made: tuple[tuple[Any, ...], Made] | None = None

    def made_for(self, *what: Any) -> Made:
        if self._made is None or self._made[0] != what:
            self._made = (what, self._make(*what))
        return self._made[1]


def _redelivery_for(deferred: Counter[str]) -> RedeliveryNeeded | None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in deferred.most_common())
    return RedeliveryNeeded(f"not everything could be done yet: deferred are {reasons}") if reasons else None


def _internal_error(bug: Exception) -> RedeliveryNeeded:
    error = RedeliveryNeeded(f"internal error: {type(bug).__name__}: {bug}")
    error.__cause__ = bug
    return error


main_handler = build()
