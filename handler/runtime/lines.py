"""What came of a batch → one line for each event and task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from handler.core.model import Line, Outcome, Reason, RecordTask, Rejection, TaskResult
from handler.core.plan import Received, none_known, stream_of, task_of
from handler.runtime.batch import Report
from handler.runtime.tally import Tally
from handler.runtime.trying import not_done, unwritten

NOTHING_DUE = TaskResult(Outcome.IGNORED, Reason.NOTHING_DUE, "nothing is due")
SAME_SWEEP = TaskResult(Outcome.IGNORED, Reason.DUPLICATE, "another message of the delivery asked for the same sweep")


def lines(
    received: Sequence[Received], answers: Mapping[int, TaskResult], sweeps: Sequence[int], report: Report
) -> Iterator[Line]:
    """The lines of a delivery, in the order of its events.

    Args:
        answers: lines that needed no work, by the number of the event.
        sweeps: the numbers of the events that asked for a sweep: the first has its tasks.
    """
    seen: set[RecordTask] = set()
    for item in received:
        if item.number in answers:
            yield _line(item, None, _answer(item, answers[item.number], report.tally))
        elif item.number in sweeps:
            is_first = item.number == sweeps[0]
            for task, result in _swept(report) if is_first else [(None, SAME_SWEEP)]:
                yield _line(item, task, result)
        else:
            for task, result in _parts(item, report.tally, seen):
                yield _line(item, task, result)


def _answer(item: Received, answer: TaskResult, tally: Tally) -> TaskResult:
    """An answer; but a rejected message that could not become a dead letter is delivered again."""
    error = tally.unwritten.get(item.record) if isinstance(item.event, Rejection) else None
    if error is None:
        return answer
    return unwritten(error)


def _swept(report: Report) -> Iterator[tuple[RecordTask | None, TaskResult]]:
    """The tasks of a sweep, and what it could not follow."""
    tally, error = report.tally, report.sweep.error if report.sweep else None
    for task in tally.swept:
        yield task, tally.results[task]
    for _, reason in tally.not_followed:
        yield None, not_done(reason)
    if error:
        yield None, not_done(error)
    if not (tally.swept or tally.not_followed or error):
        yield None, NOTHING_DUE


def _parts(item: Received, tally: Tally, seen: set[RecordTask]) -> Iterator[tuple[RecordTask | None, TaskResult]]:
    """The tasks that an event concerned. One that several events named was tried once: the others say ``duplicate``."""
    parts = tally.parts.get(item.number)
    if not parts and not isinstance(item.event, Rejection):
        yield None, none_known(item.event, tally.elsewhere.get(item.number, ()))
    for part in sorted(parts or (), key=lambda part: part.task.task_id):
        result = part.result or tally.results[part.task]
        if part.result is None:
            if part.task in seen:
                result = result._replace(reason=Reason.DUPLICATE, calls=None, latency_ms=None)
            seen.add(part.task)
        yield part.task, result


def _line(item: Received, task: RecordTask | None, result: TaskResult) -> Line:
    if isinstance(item.event, Rejection):
        return Line(item.message_id, item.event.event, item.event.stream_name, None, result)
    task = task or task_of(item.event)
    stream_name = task.stream_name if task else stream_of(item.event)
    return Line(item.message_id, item.event.type, stream_name, task.task_id if task else None, result)
