"""Results → flat JSON lines on stdout.

CLS indexes the first level of one-line JSON (583/40326); the platform cuts a log at 8 KB per line,
and at 5,000 lines and 1 MB in 5 seconds (583/11637).
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from handler.core.model import Line, Outcome
from handler.masking import without_secrets
from handler.runtime.tally import Tally

LINE_BYTES = 8_000
TASK_LINES = 3_000
TASK_BYTES = 900_000
ID_CHARACTERS = 128


class Invocation:
    """The fields of the ``reaper_invocation`` line, filled in as the invocation goes on. None: does not apply.

    No dataclass: making one takes a millisecond of every cold start.
    """

    request_id: str | None = None
    source: str = "unknown"
    cold_start: bool = False
    dry_run: bool = False
    ledger: bool = False
    messages: int = 0
    lines: int = 0
    deleted: int = 0
    already_gone: int = 0
    scheduled: int = 0
    deferred: int = 0
    failed: int = 0
    rejected: int = 0
    ignored: int = 0
    planned: int = 0
    api_calls: int = 0
    throttled_calls: int = 0
    task_lines_dropped: int = 0
    duration_ms: float = 0.0
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    latency_ms_max: float | None = None
    lag_s_p95: float | None = None
    oldest_overdue_s: float | None = None
    unreadable: int = 0
    error: str | None = None

    def __init__(self, request_id: str | None, *, cold_start: bool = False) -> None:
        self.request_id, self.cold_start = request_id, cold_start

    def count_calls(self, tally: Tally, oldest_overdue: float | None) -> None:
        """Takes over what ``tally`` says of requests and lags."""
        self.api_calls, self.throttled_calls = tally.api_calls, tally.throttled_calls
        self.unreadable = tally.unreadable
        latencies, lags = sorted(tally.latencies), sorted(tally.lags)
        self.latency_ms_p50 = _rounded(_percentile(latencies, 0.50), 1000)
        self.latency_ms_p95 = _rounded(_percentile(latencies, 0.95), 1000)
        self.latency_ms_max = _rounded(_percentile(latencies, 1.00), 1000)
        self.lag_s_p95 = _rounded(_percentile(lags, 0.95), 1)
        self.oldest_overdue_s = _rounded(oldest_overdue, 1)

    def write_tasks(self, lines: Iterable[Line], problems_only: bool) -> tuple[Counter[str], frozenset[Outcome]]:
        """Counts ``lines``, and writes a ``reaper_task`` line for each, as far as the platform's log has room.

        Returns how often which reason deferred one that no ledger holds, and the outcomes that there are.
        """
        wanted = 0
        outcomes: set[Outcome] = set()
        deferred_for: Counter[str] = Counter()
        problems: list[tuple[int, str]] = []
        others: list[tuple[int, str]] = []
        for number, line in enumerate(lines):
            self._count(line.result.outcome)
            outcomes.add(line.result.outcome)
            if line.result.outcome is Outcome.DEFERRED and line.result.reason and not line.result.persisted:
                deferred_for[line.result.reason.value] += 1
            problem = line.result.is_problem
            if problem or not problems_only:
                wanted += 1
                some = problems if problem else others
                if len(some) < TASK_LINES:  # more could not be kept anyway
                    some.append((number, _task_text(line, self.request_id)))
        kept = _fitting(problems + others)
        self.task_lines_dropped += wanted - len(kept)
        _write(text for _, text in sorted(kept))
        return deferred_for, frozenset(outcomes)

    def write(self) -> dict[str, Any]:
        """Writes the ``reaper_invocation`` line, and returns it as a dict."""
        line = {"metric": "reaper_invocation", **{name: getattr(self, name) for name in FIELDS}}
        _write([_text(line, shorten="error")], flush=True)
        return line

    def count_suppressed(self, rejected: int) -> None:
        """Counts rejections that have no line of their own."""
        self.lines += rejected
        self.rejected += rejected
        self.task_lines_dropped += rejected

    def _count(self, outcome: Outcome) -> None:
        self.lines += 1
        setattr(self, outcome.value, getattr(self, outcome.value) + 1)


# In the order in which the line has them.
FIELDS = tuple(Invocation.__annotations__)


def _write(texts: Iterable[str], flush: bool = False) -> None:
    """Writes to stdout. Never raises: what was done is done, and whether it can be logged does not change it."""
    try:
        for text in texts:
            sys.stdout.write(text)
        if flush:
            sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  closed, full, or not there at all
        with suppress(Exception):
            sys.stderr.write(f"the log could not be written: {type(error).__name__}: {error}\n")


def _percentile(ordered: list[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of them do not exceed; None of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _rounded(value: float | None, scale: int) -> float | None:
    return None if value is None else round(value * scale, 1)


def _task_text(line: Line, request_id: str | None) -> str:
    result = line.result
    fields = {
        "metric": "reaper_task",
        "request_id": request_id,
        "message_id": line.message_id[:ID_CHARACTERS],
        "event": line.event,
        "stream_name": line.stream_name,
        "task_id": None if line.task_id is None else str(line.task_id),
        "outcome": result.outcome.value,
        "reason": result.reason,
        "detail": result.detail and without_secrets(result.detail),
        "error_code": result.error_code,
        "error_class": result.error_class,
        "calls": result.calls,
        "latency_ms": result.latency_ms,
        "live_request_id": result.live_request_id,
        "traceback": result.traceback,
    }
    return _text({name: value for name, value in fields.items() if value is not None}, shorten="detail")


def _text(fields: dict[str, Any], shorten: str) -> str:
    """One line of ASCII. ``shorten`` names the one field that gives way where the line would be too long."""
    text = json.dumps(fields)
    while len(text) > LINE_BYTES and fields.get(shorten):
        fields = {**fields, shorten: fields[shorten][: len(fields[shorten]) // 2]}
        text = json.dumps(fields)
    return text + "\n"


def _fitting(texts: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """As many as there is room for, the first ones first."""
    size, kept = 0, []
    for number, text in texts[:TASK_LINES]:
        size += len(text)
        if size > TASK_BYTES:
            break
        kept.append((number, text))
    return kept
