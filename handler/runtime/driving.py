"""Makes the requests and the pauses that the tries of a task ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import assert_never

from handler.core.attempt import Ended, Fresh, Reply, Reread, Send, Sleep, Tries, Unsent
from handler.core.entry import Check, Delete
from handler.core.policy import ErrorClass, policy_of
from handler.core.storage import Stored
from handler.runtime.context import Context
from handler.runtime.gate import TOO_LATE

if TYPE_CHECKING:
    from handler.core.ports import LiveClient


class Driven(NamedTuple):
    """How tries ended, what was read of the task last, and how many seconds its requests took together."""

    ended: Ended
    stored: Stored | None
    spent: float


def drive(tries: Tries, stored: Stored | None, context: Context) -> Driven:
    """Runs ``tries`` to their end. ``stored``: what was read of the task before.

    Raises:
        LedgerError: the record could not be read again after a check.
    """
    spent = 0.0
    client: LiveClient | None = None
    try:
        request = next(tries)
        while True:
            match request:
                case Send(call):
                    client = client or context.runtime.live.client()  # before its turn: what leaves must not be late
                    reply, seconds = _send(call, context, client)
                    spent += seconds
                    request = tries.send(reply)
                case Sleep(seconds):
                    request = tries.send(_sleep(seconds, context))
                case Reread(entry):
                    stored = context.runtime.ledger.load(entry.task)
                    fresh = Fresh(stored.entry if stored else None, context.runtime.clock())
                    request = tries.send(fresh)
                case _:
                    assert_never(request)
    except StopIteration as end:
        return Driven(end.value, stored, spent)


def _send(call: Delete | Check, context: Context, client: LiveClient) -> tuple[Reply | Unsent, float]:
    runtime, tally = context.runtime, context.tally
    if not runtime.limiter.acquire(context.deadline.last_start):
        return TOO_LATE, 0.0
    refusal = context.gate.refusal(type(call))
    if refusal:
        return refusal, 0.0
    tally.sent(call.task)
    sent_at = runtime.ticks()
    reply = client.send(call)
    seconds = runtime.ticks() - sent_at
    if not tally.answered(call.task, reply, seconds):
        return TOO_LATE, seconds
    if policy_of(reply.error_class).stops:
        context.gate.stop(type(call), str(reply.error_code))
    if reply.error_class is ErrorClass.THROTTLED:
        runtime.limiter.on_throttled(sent_at)
    elif reply.request_id:  # a network that fails fast is no sign that the API has room
        runtime.limiter.on_success(sent_at)
    return reply, seconds


def _sleep(seconds: float, context: Context) -> bool:
    """Waits, if there is time for a request afterwards."""
    runtime = context.runtime
    if runtime.ticks() + seconds > context.deadline.last_start:
        return False
    runtime.sleep(seconds)
    return True
