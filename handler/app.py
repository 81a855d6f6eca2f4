"""The entry: puts the parts together for one invocation."""

from __future__ import annotations

import os
import random as random_module
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from handler.adapters.live_api import LiveApi
from handler.adapters.no_ledger import NoLedger
from handler.application import Application
from handler.core.model import ReaperError
from handler.core.plan import answer_with_ledger, answer_without_ledger
from handler.core.settle import Rules
from handler.core.storage import LedgerError
from handler.intake import callbacks, triggers
from handler.intake.triggers import Delivery, HttpRequest, Message
from handler.masking import without_secrets
from handler.runtime.bugs import frames
from handler.runtime.context import Runtime
from handler.runtime.deadline import Deadline
from handler.runtime.hourly import Hourly
from handler.runtime.rate_limiter import AdaptiveRateLimiter
from handler.runtime.worker_pool import WorkerPool
from handler.settings import Settings, SettingsError
from handler.telemetry import Invocation

if TYPE_CHECKING:
    from handler.adapters.http_session import HttpSession
    from handler.core.ports import Ledger, Live, Workers

__all__ = ["Application", "RedeliveryNeeded", "assemble", "build", "main_handler"]
Handler = Callable[[Any, Any], dict[str, Any]]


class RedeliveryNeeded(ReaperError):
    """Something could not be done yet: raised after all telemetry, so that the trigger delivers again."""


def assemble(
    settings: Settings,
    live: Live,
    ledger: Ledger,
    workers: Workers,
    clock: Callable[[], float] = time.time,
    *,
    ticks: Callable[[], float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random_module.random,
    limiter: AdaptiveRateLimiter | None = None,
    others: Hourly | None = None,
) -> Application:
    """An application of these parts. With workers that run inline, it makes one request after the other.

    Args:
        ledger: a ``NoLedger`` exactly where the settings name none.
        clock: returns unix seconds.
        ticks: returns seconds that pass; never set back. Left out, it is the clock, or the monotonic one beside the
            system's.
        sleep: takes seconds.
        random: returns a number from 0 to 1.
        limiter: one that has learned a rate already.
        others: what earlier invocations of this instance said of other deployments' tasks.
    """
    ticks = ticks or _ticks_beside(clock)
    runtime = Runtime(
        live=live,
        ledger=ledger,
        workers=workers,
        limiter=limiter or AdaptiveRateLimiter(settings.max_qps, ticks, sleep),
        clock=clock,
        ticks=ticks,
        sleep=sleep,
        random=random,
        allows=settings.allows,
        others=others or Hourly(),
        concurrency=settings.concurrency,
        dry_run=settings.dry_run,
    )
    rules = Rules(settings.end_margin_seconds, settings.grace_seconds, settings.give_up_after_seconds)
    answer = answer_without_ledger if settings.ledger is None else answer_with_ledger
    return Application(settings, runtime, rules, answer)


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
    return _Instance(clock, _ticks_beside(clock), sleep, random).main_handler


def _ticks_beside(clock: Callable[[], float]) -> Callable[[], float]:
    return time.monotonic if clock is time.time else clock


class _Instance:
    """What survives from one warm invocation to the next: threads with their connections, and the rate."""

    def __init__(
        self,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        self._clock, self._ticks, self._sleep, self._random = clock, ticks, sleep, random
        self._workers = WorkerPool()
        self._others = Hourly()
        self._cold = True
        # Each is made anew only when what it is made for changes.
        self._live = lru_cache(maxsize=1)(LiveApi)
        self._limiter = lru_cache(maxsize=1)(lambda max_qps: AdaptiveRateLimiter(max_qps, ticks, sleep))
        self._session = lru_cache(maxsize=1)(_new_session)  # for the ledger: Live keeps its own

    def main_handler(self, event: Any, context: Any) -> dict[str, Any]:
        """Handles one event of any trigger. Returns the invocation line.

        Raises:
            SettingsError: the environment cannot be used; nothing was done.
            RedeliveryNeeded: something is deferred, and no ledger holds it.
        """
        began = self._ticks()
        invocation = Invocation(triggers.request_id(context), cold_start=self._cold)
        self._cold = False
        answer, error = self._handled(event, context, began, invocation)
        invocation.error = str(error) if error else None
        if invocation.source == triggers.Source.HTTP and isinstance(error, RedeliveryNeeded):
            answer, error = callbacks.answer(503, "not now"), None
        invocation.duration_ms = round((self._ticks() - began) * 1000, 1)
        line = invocation.write()
        if error:
            raise error
        return answer or line

    def _handled(
        self, event: Any, context: Any, began: float, invocation: Invocation
    ) -> tuple[dict[str, Any] | None, Exception | None]:
        """Does all that ``event`` asks for; returns what HTTP is answered, and what is to be raised."""
        try:
            delivery = triggers.read(event)
            invocation.source = delivery.source.value
            settings = Settings.read(os.environ)
            invocation.dry_run, invocation.ledger = settings.dry_run, settings.ledger is not None
            limit = triggers.time_limit(context)
            if delivery.request:
                deadline = _http_deadline(began, limit)
                return self._answer(delivery, delivery.request, settings, deadline, invocation), None
            deadline = Deadline.after(began, limit)
            handled = self._application(settings, deadline).handle(delivery, deadline, invocation)
            return None, _redelivery_for(handled.deferred)
        except SettingsError as unusable:
            return None, unusable
        except LedgerError as unreachable:
            return None, RedeliveryNeeded(str(unreachable))
        except Exception as bug:  # noqa: BLE001  nothing may be taken for done
            return None, _internal_error(bug)

    def _answer(
        self, delivery: Delivery, request: HttpRequest, settings: Settings, deadline: Deadline, invocation: Invocation
    ) -> dict[str, Any]:
        """Handles a request of HTTP; returns what it is answered."""
        key = settings.callback_key.get_secret_value() if settings.callback_key else None
        admitted = callbacks.admit(request, key, self._clock(), has_ledger=settings.ledger is not None)
        message_id = delivery.messages[0].id
        if isinstance(admitted, callbacks.Refusal):
            delivery = delivery._replace(messages=[Message(message_id, admitted.rejection)])
            without_ledger = settings.model_copy(update={"ledger": None})  # only a line is written
            self._application(without_ledger, deadline).handle(delivery, deadline, invocation)
            return callbacks.answer(admitted.status, admitted.rejection.detail)
        delivery = delivery._replace(messages=[Message(message_id, admitted)])
        handled = self._application(settings, deadline).handle(delivery, deadline, invocation)
        return callbacks.answer(*callbacks.status_for(handled.outcomes))

    def _application(self, settings: Settings, deadline: Deadline) -> Application:
        return assemble(
            settings,
            self._live(settings.live_endpoint, deadline.request_timeout, deadline.limit),
            self._ledger(settings, deadline),
            self._workers,
            clock=self._clock,
            ticks=self._ticks,
            sleep=self._sleep,
            random=self._random,
            limiter=self._limiter(settings.max_qps),
            others=self._others,
        )

    def _ledger(self, settings: Settings, deadline: Deadline) -> Ledger:
        if settings.ledger is None:
            return NoLedger()
        from handler.adapters import cos_bucket, cos_ledger  # heavy: only where a ledger is configured

        timeout = deadline.request_timeout / 2
        bucket = cos_bucket.Bucket(settings.ledger, self._session(), timeout, self._sleep, self._random, deadline.limit)
        return cos_ledger.CosLedger(bucket, self._random)


def _http_deadline(began: float, limit: float) -> Deadline:
    if limit <= callbacks.ANSWER_SECONDS:
        return Deadline.after(began, limit)
    return Deadline.after(began, callbacks.ANSWER_SECONDS)._replace(limit=None)  # CSS waits that long, not the platform


def _new_session() -> HttpSession:
    from handler.adapters.http_session import HttpSession  # heavy, too

    return HttpSession()


def _redelivery_for(deferred: Counter[str]) -> RedeliveryNeeded | None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in deferred.most_common())
    return RedeliveryNeeded(f"not everything could be done yet: deferred are {reasons}") if reasons else None


def _internal_error(bug: Exception) -> RedeliveryNeeded:
    error = RedeliveryNeeded(f"internal error: {without_secrets(f'{type(bug).__name__}: {bug}')} (at {frames(bug)})")
    error.__cause__ = bug
    return error


main_handler = build()
