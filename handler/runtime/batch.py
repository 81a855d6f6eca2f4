"""Works off a batch on several threads: one item after the other, at the limiter's pace, until the deadline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from handler.core.model import Outcome, TaskResult
from handler.core.plan import Moment
from handler.core.storage import IndexKey
from handler.runtime.context import Context, PutMessageLetter, Runtime
from handler.runtime.deadline import Deadline
from handler.runtime.gate import TOO_LATE
from handler.runtime.processing import process
from handler.runtime.queue import LetterWork, Queue, TaskWork
from handler.runtime.tally import Tally, TaskLine


class SweepEnd(NamedTuple):
    """How a sweep ended: why the ledger does not say what else is due, and by how many seconds the oldest task that
    is left is overdue."""

    error: Exception | None
    oldest_overdue: float


class Report(NamedTuple):
    """What a batch came to; ``sweep`` None: none was asked for."""

    tally: Tally
    sweep: SweepEnd | None


def work_off(
    asked: Sequence[TaskWork | LetterWork],
    keys: Iterator[IndexKey] | None,
    runtime: Runtime,
    moment: Moment,
    deadline: Deadline,
    put_message_letter: PutMessageLetter,
) -> Report:
    """Works everything off. Returns at the deadline's end at the latest; what comes later changes nothing.

    Args:
        asked: what messages ask for; handed out even if no request may leave any more: it has to be written down.
        keys: what a sweep is to follow, the oldest first; None where no sweep is asked for.
        put_message_letter: writes the dead letter of a message.
    """
    queue = Queue(_in_order(asked, runtime, deadline), keys)
    context = Context(runtime, moment, deadline, queue, put_message_letter)
    tally = context.tally
    for work in asked:
        if isinstance(work, TaskWork):
            tally.claim_asked(work.task)
    if keys is not None:
        runtime.workers.run_on_all(queue.begin, 1, deadline.last_start - runtime.ticks())
    count = runtime.concurrency if queue.next_key else min(runtime.concurrency, len(asked))
    if count:
        runtime.workers.run_on_all(lambda: _job(context), count, deadline.end - runtime.ticks())
    context.gate.close()
    queue.close()  # a worker that is late begins nothing: it would be in the way of the next invocation
    tally.close()
    _abandon(asked, context)
    return Report(tally, _sweep_end(context) if keys is not None else None)


def _in_order(
    asked: Sequence[TaskWork | LetterWork], runtime: Runtime, deadline: Deadline
) -> Sequence[TaskWork | LetterWork]:
    """As they came; but from a place of chance if there is no time for all of them.

    A redelivery brings them all again. If it began with the same ones each time, the rest would never be reached.
    """
    seconds = deadline.last_start - runtime.ticks()
    # Each needs the ledger as well, of which it is not known how fast it is: a second for each is a cautious guess.
    if len(asked) <= min(runtime.limiter.rate, runtime.concurrency) * seconds:
        return asked
    first = int(runtime.random() * len(asked))
    return [*asked[first:], *asked[:first]]


def _job(context: Context) -> None:
    runtime = context.runtime
    while True:
        may_send = runtime.ticks() <= context.deadline.last_start and context.gate.stopped is None
        work = context.queue.take(with_keys=may_send)
        if work is None:
            return
        process(work, context)


def _abandon(asked: Sequence[TaskWork | LetterWork], context: Context) -> None:
    """Gives every task on which work has not ended its result."""
    tally, unsent = context.tally, context.gate.stopped or TOO_LATE
    untried = TaskResult(Outcome.DEFERRED, unsent.reason, unsent.detail, calls=0)
    for work in asked:
        if isinstance(work, TaskWork) and work.task not in tally.results and work.task not in tally.not_meant:
            tally.abandon(work.task, untried)
            for item in work.received:
                tally.parts.setdefault(item.number, []).append(TaskLine(work.task))
        elif isinstance(work, LetterWork) and work.record not in tally.with_letter:
            tally.unwritten.setdefault(work.record, TimeoutError("too little time was left to write it"))
    for task in tally.swept:
        if task not in tally.results:
            tally.abandon(task, untried)


def _sweep_end(context: Context) -> SweepEnd:
    queue, tally, runtime = context.queue, context.tally, context.runtime
    error = queue.error
    if not queue.begun or queue.under_way:
        error = TimeoutError("the ledger did not say in time what is due")
    overdue = [at for task, at in tally.swept.items() if tally.results[task].outcome is Outcome.DEFERRED]
    overdue += [key.due_at for key, _ in tally.not_followed]
    overdue += [key.due_at for key in (*queue.under_way, *([queue.next_key] if queue.next_key else []))]
    return SweepEnd(error, max(0.0, runtime.clock() - min(overdue)) if overdue else 0.0)
