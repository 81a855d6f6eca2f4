"""What follows from the class of an error: one row each, and nowhere else."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from handler.core.model import Outcome, Reason

RETRY_FIRST_SECONDS, RETRY_MOST_SECONDS = 0.25, 4.0  # within one invocation: the bound of full jitter, doubling
POSTPONE_MOST_SECONDS = 3_600.0
_DOUBLINGS = 16  # more change nothing, and would overflow in the end


class ErrorClass(str, Enum):
    """What a Live error means for the task that it answered."""

    GONE = "gone"
    BUSY = "busy"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    BLOCKED = "blocked"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class Policy(NamedTuple):
    """What follows from an answer.

    ``outcome``, ``reason``: of a deletion that ends with it. ``tries``: within one invocation. ``postpone``: seconds
    until a sweep tries again, doubling to an hour; None: it is not counted against the task, which stays due as it
    is. ``stops``: no further request of this kind leaves in this invocation. ``answers_check``: a check that ends so
    counts as "on air" for this time, as the vendor advises (267/20470); else it says nothing about the stream.
    """

    outcome: Outcome
    reason: Reason | None = None
    tries: float = 1
    postpone: float | None = None
    stops: bool = False
    answers_check: bool = True


CONFIRMED = Policy(Outcome.DELETED)
POLICIES: dict[ErrorClass, Policy] = {
    ErrorClass.GONE: Policy(Outcome.ALREADY_GONE, Reason.NOT_FOUND),
    ErrorClass.BUSY: Policy(Outcome.DEFERRED, Reason.BUSY, postpone=300.0),
    ErrorClass.THROTTLED: Policy(Outcome.DEFERRED, Reason.THROTTLED, tries=float("inf"), answers_check=False),
    ErrorClass.TRANSIENT: Policy(Outcome.DEFERRED, Reason.TRANSIENT, tries=3, postpone=60.0),
    ErrorClass.BLOCKED: Policy(Outcome.DEFERRED, Reason.BLOCKED, stops=True, answers_check=False),
    ErrorClass.INVALID: Policy(Outcome.FAILED, Reason.INVALID),
    ErrorClass.UNKNOWN: Policy(Outcome.DEFERRED, Reason.UNKNOWN, tries=3, postpone=60.0),
}


def policy_of(error_class: ErrorClass | None) -> Policy:
    """The row of an error class; None: the API confirmed."""
    return CONFIRMED if error_class is None else POLICIES[error_class]


def retry_wait(tried: int, random: float) -> float:
    """Seconds until the next try of this invocation: full jitter, so that refused requests do not come back at once."""
    return random * min(RETRY_MOST_SECONDS, RETRY_FIRST_SECONDS * 2.0 ** min(tried - 1, _DOUBLINGS))


def postponement(first: float, attempts: int) -> float:
    """Seconds until a sweep tries again, after so many failed ``attempts``."""
    return min(POSTPONE_MOST_SECONDS, first * 2.0 ** min(attempts - 1, _DOUBLINGS))
