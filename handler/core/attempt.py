"""The tries of one task in one invocation, as a generator: it yields what it needs, and is sent what came of it.

So a test of the rules is a list of replies, and the runtime around it only has threads, time and limits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from typing import NamedTuple

from handler.core.entry import Check, Delete, Entry, next_step
from handler.core.model import Reason
from handler.core.policy import ErrorClass, policy_of, retry_wait


class Reply(NamedTuple):
    """What one request came to. ``error_class`` None: the API confirmed.

    ``ambiguous``: no clear refusal came back, so the API may have acted all the same. ``sent``: a request was tried
    at all. ``off_air``: a check found the stream inactive; False for every other state; None if nothing was found.
    """

    error_class: ErrorClass | None = None
    error_code: str | None = None
    detail: str | None = None
    request_id: str | None = None
    ambiguous: bool = False
    sent: bool = True
    off_air: bool | None = None


class Send(NamedTuple):
    """Make this request. Sent back: a ``Reply``, or ``Unsent`` if no such request may leave any more."""

    call: Delete | Check


class Unsent(NamedTuple):
    """Why a request did not leave."""

    reason: Reason
    detail: str


class Sleep(NamedTuple):
    """Wait. Sent back: whether there is time for another try afterwards."""

    seconds: float


class Reread(NamedTuple):
    """Read the record of the task once more. Sent back: a ``Fresh``."""

    entry: Entry


class Fresh(NamedTuple):
    """What is stored of the task now; None: nothing. ``now`` is unix seconds."""

    entry: Entry | None
    now: float


class End(Enum):
    """How the tries of one invocation ended."""

    ANSWERED = "the last answer to a deletion counts"
    NOT_OFF_AIR = "the last answer to a check counts: nothing may be deleted now"
    UNTRIED = "no deletion left"
    PLANNED = "it would have been deleted: a dry run"
    OVERTAKEN = "its record changed during the check: it is not due any more"
    FORGOTTEN = "its record was removed during the check: another invocation dealt with it"


class Ended(NamedTuple):
    """How it ended, with the entry as it was read last, and the last answer that counts.

    ``calls`` counts the requests that left. ``ambiguous``: an earlier try may have deleted the record already.
    """

    how: End
    entry: Entry
    reply: Reply | None = None
    calls: int = 0
    ambiguous: bool = False
    unsent: Unsent | None = None


Tries = Generator[Send | Sleep | Reread, Reply | Unsent | Fresh | bool, Ended]


def attempt(step: Delete | Check, entry: Entry, random: Callable[[], float], *, dry_run: bool = False) -> Tries:
    """Tries ``step`` until there is an answer that counts, or no further request may leave.

    Args:
        step: what ``next_step`` decided about ``entry``.
        random: returns a number from 0 to 1; spreads retries.
        dry_run: checks are made, but no deletion is sent.
    """
    call, answered, tried, calls, ambiguous = step, step, 0, 0, False
    last: Reply | None = None
    unsent: Unsent | None = None
    while not (dry_run and isinstance(call, Delete)):
        reply = yield Send(call)
        if isinstance(reply, Unsent):
            unsent = reply
            break
        assert isinstance(reply, Reply)  # noqa: S101  what else a Send is answered with
        tried, calls, last, answered = tried + 1, calls + reply.sent, reply, call
        if isinstance(call, Check) and reply.off_air:
            fresh = yield Reread(entry)
            assert isinstance(fresh, Fresh)  # noqa: S101  what a Reread is answered with
            if fresh.entry is None:
                return Ended(End.FORGOTTEN, entry, calls=calls)
            entry = fresh.entry
            after_check = next_step(entry, fresh.now, off_air=call.target)
            if not isinstance(after_check, Delete):
                return Ended(End.OVERTAKEN, entry, calls=calls)
            call, last = after_check, None  # at once
            continue
        if tried >= policy_of(reply.error_class).tries or not (yield Sleep(retry_wait(tried, random()))):
            break
        ambiguous = ambiguous or (reply.ambiguous and isinstance(call, Delete))
        call = step  # after a wait, the stream may be on air again
    else:
        return Ended(End.PLANNED, entry, calls=calls)
    return Ended(_end(answered, last), entry, last, calls, ambiguous, unsent)


def _end(call: Delete | Check, last: Reply | None) -> End:
    if last is None:
        return End.UNTRIED
    if isinstance(call, Check) and policy_of(last.error_class).answers_check:
        return End.NOT_OFF_AIR
    return End.ANSWERED
