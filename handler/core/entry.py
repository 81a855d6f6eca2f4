"""What is known of one task, and the one next step that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from handler.core.model import RecordTask

NEVER = float("inf")
DEFAULT_APP = "live"  # what CreateLiveRecord takes where no AppName is given (267/30845)

# -- the state ---------------------------------------------------------------------------------


class Target(NamedTuple):
    """What a check of a stream's state needs besides the stream's name: without both, no check can be made."""

    domain_name: str
    app_name: str


class Failure(NamedTuple):
    """A distinct error of one task: how many times it was seen, from when until when (unix seconds)."""

    code: str
    detail: str
    times: int
    first_at: float
    last_at: float


class Entry(NamedTuple):
    """What is known of one task. Times are unix seconds; None: not known.

    ``delete_at``: the earliest assertion: from then on the user's own word, or the task's own end, says that its
    record may go. ``check_at``: the latest hint: from then on the state of its stream is worth a check.
    ``checked_at``: the last check that was answered; it answers every hint up to then. ``retry_at``: it was tried,
    and waits until then. ``cause``: the message that made it due. ``created_at``: when it was first remembered.
    """

    task: RecordTask
    domain_name: str | None = None
    app_name: str | None = None
    started_at: float | None = None
    delete_at: float | None = None
    check_at: float | None = None
    checked_at: float | None = None
    retry_at: float | None = None
    failures: tuple[Failure, ...] = ()
    cause: Mapping[str, Any] | None = None
    created_at: float | None = None

    @property
    def target(self) -> Target | None:
        """Whose state a check asks for; None: no check can be made."""
        return Target(self.domain_name, self.app_name or DEFAULT_APP) if self.domain_name else None

    @property
    def due_at(self) -> float:
        """When there is something to do about it; ``NEVER`` where no time is known."""
        return max(min(_or_never(self.delete_at), _or_never(self.check_at)), self.retry_at or 0.0)

    @property
    def attempts(self) -> int:
        """How many tries failed since the last success."""
        return sum(failure.times for failure in self.failures)

    @property
    def failing_since(self) -> float | None:
        """When the first of these tries failed."""
        return min((failure.first_at for failure in self.failures), default=None)

    def asserted(self, at: float, cause: Mapping[str, Any] | None) -> Entry:
        """The same, to be deleted from ``at`` on: the earliest assertion wins."""
        if self.delete_at is not None and self.delete_at <= at:
            return self
        return self._replace(delete_at=at, cause=cause or self.cause)

    def hinted(self, at: float, cause: Mapping[str, Any] | None) -> Entry:
        """The same, to be checked from ``at`` on: the latest hint wins, for a later one says that it came back."""
        if self.check_at is not None and self.check_at >= at:
            return self
        return self._replace(check_at=at, cause=cause or self.cause)

    def failed(self, code: str, detail: str, now: float) -> Entry:
        """The same with one more failure; equal errors are counted."""
        seen = {failure.code: failure for failure in self.failures}
        before = seen.get(code, Failure(code, detail, 0, now, now))
        seen[code] = before._replace(detail=detail, times=before.times + 1, last_at=now)
        return self._replace(failures=tuple(seen.values()))


def same_domain(one: str, other: str) -> bool:
    """Whether two names are one domain, as DNS compares them: without case, and without a trailing dot."""
    return one.lower().rstrip(".") == other.lower().rstrip(".")


def _or_never(at: float | None) -> float:
    return NEVER if at is None else at


# -- the law -----------------------------------------------------------------------------------


class Delete(NamedTuple):
    """Delete the record of ``task`` now."""

    task: RecordTask


class Check(NamedTuple):
    """Ask for the state of the task's stream under ``target`` first."""

    task: RecordTask
    target: Target


class Why(str, Enum):
    """Why a task waits."""

    NOT_DUE = "not_due"
    AFTER_FAILURE = "after_failure"
    NO_TIME = "no_time"
    CANNOT_CHECK = "cannot_check"


class Wait(NamedTuple):
    """Nothing may be done before ``until`` (unix seconds, or ``NEVER``)."""

    until: float
    why: Why


Step = Delete | Check | Wait


def next_step(entry: Entry, now: float, off_air: Target | None = None) -> Step:
    """The one next step about a task: the only place that decides that a record may go.

    An assertion that is due deletes. A hint that is due leads to a check, and deletes only after one.

    Args:
        entry: all that is known of the task.
        now: unix seconds.
        off_air: the target that a check, made while the entry was due, has just found inactive.
    """
    if entry.due_at > now:
        if entry.due_at == NEVER:
            return Wait(NEVER, Why.NO_TIME)
        return Wait(entry.due_at, Why.AFTER_FAILURE if entry.due_at == entry.retry_at else Why.NOT_DUE)
    delete_at = _or_never(entry.delete_at)
    if delete_at <= now:
        return Delete(entry.task)
    if entry.target is None:
        return Wait(delete_at, Why.CANNOT_CHECK)
    if entry.target == off_air:
        return Delete(entry.task)
    return Check(entry.task, entry.target)
