"""The events of a delivery → what there is to do for which task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from handler.core.events import Sweep
from handler.core.model import Outcome, Reason, RecordTask, Rejection, TaskResult
from handler.core.plan import Received, is_for_stream, stream_of, task_of
from handler.core.storage import LedgerError
from handler.runtime.queue import LetterWork, TaskWork

Listing = Sequence[RecordTask] | LedgerError | None
_LATE = TaskResult(Outcome.DEFERRED, Reason.OUT_OF_TIME, "not decided on: too little time was left", calls=0)


class Sorted(NamedTuple):
    """The events of a delivery, by what becomes of them.

    ``answers``: lines that are known without any work, by the number of the event. ``streams``: events by the stream
    that they concern; ``to_list``: the streams of which all tasks have to be known. ``rejected``: what is wrong with a
    message, by its number. ``sweeps``: the numbers of the events that ask for a sweep.
    """

    answers: dict[int, TaskResult]
    streams: Mapping[str, Sequence[Received]]
    to_list: Sequence[str]
    rejected: Mapping[int, Sequence[str]]
    sweeps: Sequence[int]


def sort(received: Iterable[Received], say: Callable[[Received], TaskResult | None]) -> Sorted:
    """Sorts the events of a delivery. ``say``: the line of an event for which nothing has to be done, or None."""
    answers: dict[int, TaskResult] = {}
    streams: dict[str, list[Received]] = {}
    rejected: dict[int, list[str]] = {}
    sweeps: list[int] = []
    for item in received:
        result = item.event.result() if isinstance(item.event, Rejection) else say(item)
        if isinstance(item.event, Rejection) and item.trusted:  # anybody else must not be able to fill the ledger
            rejected.setdefault(item.record, []).append(item.event.detail)
        if result is not None:
            answers[item.number] = result
        elif isinstance(item.event, Sweep):
            sweeps.append(item.number)
        else:
            streams.setdefault(stream_of(item.event) or "", []).append(item)
    to_list = [name for name, items in streams.items() if any(is_for_stream(item.event) for item in items)]
    return Sorted(answers, streams, to_list, rejected, sweeps)


def work_for(found: Sorted, listed: Mapping[str, Listing]) -> list[TaskWork | LetterWork]:
    """What is to be done. Events of a stream whose tasks could not be listed have their answer after this."""
    work: list[TaskWork | LetterWork] = [LetterWork(*item) for item in found.rejected.items()]
    for name, items in found.streams.items():
        tasks = listed.get(name, ())
        if tasks is None or isinstance(tasks, LedgerError):
            answer = _LATE if tasks is None else TaskResult(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, str(tasks))
            found.answers.update({item.number: answer for item in items})
        else:
            work += _of_stream(items, tasks)
    return work


def _of_stream(items: Sequence[Received], listed: Sequence[RecordTask]) -> list[TaskWork]:
    """One piece of work for each task that an event names, or that is known of the stream where an event means all."""
    for_all = [item for item in items if is_for_stream(item.event)]
    named: dict[RecordTask, list[Received]] = {}
    for item in items:
        task = task_of(item.event)
        if task is not None:
            named.setdefault(task, []).append(item)
    if for_all:
        for own in named.values():
            own += for_all
            own.sort(key=lambda item: item.number)
    work = [TaskWork(task, own) for task, own in named.items()]
    return work + [TaskWork(task, for_all) for task in listed if task not in named]
