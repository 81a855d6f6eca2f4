"""The entry: wires the rooms for one invocation. No rule lives here."""

from __future__ import annotations

import os
import random as random_module
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from handler import callbacks, planner, settling, triggers
from handler.credentials import without_secrets
from handler.crew import Crew
from handler.ledger import Due, Ledger, LedgerError, MemoryLedger
from handler.live import LiveApi
from handler.model import Outcome, Reason, Report, Result
from handler.pacer import Pacer
from handler.planner import Planner
from handler.reaper import Deadline, Reaper
from handler.settings import Settings, SettingsError
from handler.telemetry import Invocation
from handler.traces import frames
from handler.triggers import Delivery, HttpRequest, Message

if TYPE_CHECKING:
    from handler.http_session import HttpSession

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
        self._session = _Kept(_new_session)  # for the ledger: Live keeps its own
        self._others = settling.HourlyLines()

    def main_handler(self, event: Any, context: Any) -> dict[str, Any]:
        """Handles one event of any trigger. Returns the invocation line.

        Raises:
            SettingsError: the environment cannot be used; nothing was done.
            RedeliveryNeeded: something is deferred, and no ledger holds it.
        """
        began = self._ticks()
        invocation = Invocation(triggers.request_id(context), cold_start=self._cold)
        self._cold = False
        answer: dict[str, Any] | None = None
        error: Exception | None = None
        try:
            delivery = triggers.read(event)
            invocation.source = delivery.source
            settings = Settings.read(os.environ)
            invocation.dry_run, invocation.ledger = settings.dry_run, settings.ledger is not None
            limit = triggers.time_limit(context)
            deadline = Deadline.after(began, limit)
            if delivery.request and limit > callbacks.ANSWER_SECONDS:  # which CSS waits for, not the platform
                deadline = Deadline.after(began, callbacks.ANSWER_SECONDS)._replace(limit=None)
            if delivery.request:
                answer = self._answer(delivery, delivery.request, settings, deadline, invocation)
            else:
                error = _redelivery_for(self._handle(delivery, settings, deadline, invocation))
        except SettingsError as unusable:
            error = unusable
        except LedgerError as unreachable:
            error = RedeliveryNeeded(str(unreachable))
        except Exception as bug:  # noqa: BLE001  a mistake of ours: nothing may be taken for done
            error = _internal_error(bug)
        invocation.error = str(error) if error else None
        if invocation.source == "http" and isinstance(error, RedeliveryNeeded):
            answer, error = callbacks.answer(503, "not now"), None
        invocation.duration_ms = round((self._ticks() - began) * 1000, 1)
        line = invocation.write()
        if error:
            raise error
        return answer or line

    def _answer(
        self,
        delivery: Delivery,
        request: HttpRequest,
        settings: Settings,
        deadline: Deadline,
        invocation: Invocation,
    ) -> dict[str, Any]:
        """Handles a request of HTTP; returns what it is answered."""
        refused = callbacks.refusal(request, settings, self._clock())
        if refused:
            # Told, but not kept: the ledger is not for anybody to fill.
            delivery = Delivery("http", [Message(delivery.messages[0].id, refused.rejection)])
            self._handle(delivery, settings.model_copy(update={"ledger": None}), deadline, invocation)
            return callbacks.answer(refused.status, refused.rejection.detail)
        deferred = self._handle(delivery, settings, deadline, invocation)
        if deferred or invocation.failed:
            return callbacks.answer(503, "the ledger cannot be written")
        return callbacks.answer(400, "not a valid callback") if invocation.rejected else callbacks.answer(200)

    def _handle(
        self, delivery: Delivery, settings: Settings, deadline: Deadline, invocation: Invocation
    ) -> Counter[str]:
        """Does it all; returns what was deferred and is held by no ledger, by reason."""
        ledger, now = self._ledger(settings, deadline), self._clock()
        if ledger.keeps:
            deadline = deadline.leaving(deadline.request_timeout / 2)
        reading = planner.read(delivery, now, lambda: self._ticks() < deadline.last_start)
        invocation.messages = reading.messages
        acts = delivery.source != "http"
        parts = self._decide(reading, Planner.of(now, settings, ledger, acts), settings, ledger, deadline)
        report = self._work_off(reading, planner.due_of(parts), settings, ledger, deadline)
        if ledger.keeps and planner.sweeps(reading):
            parts.update(planner.swept(reading, report))
        invocation.count_calls(report)
        lines = planner.lines(reading, parts, report.results)
        deferred = invocation.write_tasks(lines, settings.log_tasks == "problems")
        invocation.count_untold(reading.more_rejected)
        return deferred

    def _ledger(self, settings: Settings, deadline: Deadline) -> Ledger:
        if settings.ledger is None:
            return MemoryLedger()
        from handler import cos_bucket, cos_ledger  # heavy: only where a ledger is configured

        session = self._session.made_for()
        timeout = deadline.request_timeout / 2
        bucket = cos_bucket.Bucket(settings.ledger, session, timeout, self._sleep, self._random, deadline.limit)
        return cos_ledger.CosLedger(bucket, self._random)

    def _decide(
        self,
        reading: planner.Reading,
        decide: Callable[[list[planner.Asked]], planner.Parts],
        settings: Settings,
        ledger: Ledger,
        deadline: Deadline,
    ) -> planner.Parts:
        if not ledger.keeps:
            return decide(reading.asked)
        groups, seconds = planner.groups(reading.asked), deadline.last_start - self._ticks()
        return planner.joined(groups, self._crew.each(decide, groups, settings.concurrency, seconds))

    def _work_off(
        self, reading: planner.Reading, due: list[Due], settings: Settings, ledger: Ledger, deadline: Deadline
    ) -> Report:
        sweeps = bool(ledger.keeps and planner.sweeps(reading))
        if settings.dry_run and not ledger.keeps:
            return Report({item.task: Result(Outcome.PLANNED, Reason.DRY_RUN) for item in due})
        if not due and not sweeps:
            return Report()
        live = self._live.made_for(settings.live_endpoint, deadline.request_timeout, deadline.limit)
        reaper = self._reaper.made_for(settings)
        work = settling.work(due, sweeps, self._clock, settings, ledger, self._others)
        return reaper.work_off(work, live.client, self._clock(), deadline, settings.concurrency)

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


def _new_session() -> HttpSession:
    from handler.http_session import HttpSession  # heavy, too

    return HttpSession()


def _redelivery_for(deferred: Counter[str]) -> RedeliveryNeeded | None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in deferred.most_common())
    return RedeliveryNeeded(f"not everything could be done yet: deferred are {reasons}") if reasons else None


def _internal_error(bug: Exception) -> RedeliveryNeeded:
    error = RedeliveryNeeded(f"internal error: {without_secrets(f'{type(bug).__name__}: {bug}')} (at {frames(bug)})")
    error.__cause__ = bug
    return error


main_handler = build()
