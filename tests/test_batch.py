"""A batch alone, on ports in memory that do what the test wants: what the network makes hard to time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from handler.adapters.no_ledger import NoLedger
from handler.core.attempt import Reply
from handler.core.entry import Check, Delete, Entry
from handler.core.events import StreamEnd
from handler.core.model import Outcome, Reason, RecordTask, TaskResult
from handler.core.plan import Moment, Received
from handler.core.policy import ErrorClass, retry_wait
from handler.core.ports import Ledger, LiveClient
from handler.core.settle import Rules
from handler.core.storage import IndexKey, Resolved, Stored
from handler.runtime.batch import Report, work_off
from handler.runtime.context import Runtime
from handler.runtime.deadline import Deadline
from handler.runtime.hourly import Hourly
from handler.runtime.queue import TaskWork
from handler.runtime.rate_limiter import AdaptiveRateLimiter
from handler.runtime.worker_pool import WorkerPool

OK = Reply(request_id="r")
LOST = Reply(ErrorClass.TRANSIENT, "ClientNetworkError", "lost", ambiguous=True)
THROTTLED = Reply(ErrorClass.THROTTLED, "RequestLimitExceeded", "slower", "r")
BLOCKED = Reply(ErrorClass.BLOCKED, "AuthFailure", "no", "r")
NO_CREDENTIALS = Reply(ErrorClass.BLOCKED, "NoCredentials", "none", sent=False)


class Client:
    """Answers a deletion with what ``answer`` says for its task."""

    def __init__(self, answer: Callable[[RecordTask], Reply]) -> None:
        self._answer = answer
        self.asked: list[int] = []

    def send(self, call: Delete | Check) -> Reply:
        assert isinstance(call, Delete), "nothing here is due because of a hint"
        self.asked.append(call.task.task_id)
        return self._answer(call.task)


class Live:
    """Every thread has its client from ``made``."""

    def __init__(self, made: Callable[[], LiveClient]) -> None:
        self.client = made


def limiter_at(max_qps: float) -> AdaptiveRateLimiter:
    return AdaptiveRateLimiter(max_qps, time.monotonic, time.sleep)


def runtime(
    client: Callable[[], LiveClient],
    workers: WorkerPool | None = None,
    limiter: AdaptiveRateLimiter | None = None,
    concurrency: int = 4,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = lambda: 0.0,
    ledger: Ledger | None = None,
) -> Runtime:
    return Runtime(
        live=Live(client),
        ledger=ledger or NoLedger(),
        workers=workers or WorkerPool(),
        limiter=limiter or limiter_at(10_000),
        clock=time.time,
        ticks=time.monotonic,
        sleep=sleep,
        random=random,
        allows=lambda _: True,
        others=Hourly(),
        concurrency=concurrency,
        dry_run=False,
    )


def due(count: int) -> list[TaskWork]:
    """So many tasks, of each of which a message says that its record may go now."""
    return [asserted(RecordTask("room", number)) for number in range(count)]


def asserted(task: RecordTask) -> TaskWork:
    event = StreamEnd.model_construct(type="stream-end", stream_name=task.stream_name, task_id=task.task_id)
    return TaskWork(task, [Received(task.task_id, task.task_id, f"m:{task.task_id}", event, trusted=True)])


def worked_off(
    runtime: Runtime, asked: list[TaskWork], deadline: Deadline, keys: Iterator[IndexKey] | None = None
) -> Report:
    moment = Moment(runtime.clock(), Rules(end_margin=600.0, grace=1_800.0, give_up_after=604_800.0))
    return work_off(asked, keys, runtime, moment, deadline, lambda *_: None)


def work(
    client: Client, count: int, seconds: float = 2.0, workers: int = 4, limiter: AdaptiveRateLimiter | None = None
) -> Report:
    now = time.monotonic()
    deadline = Deadline(0.1, now + seconds - 0.1, now + seconds)
    return worked_off(runtime(lambda: client, limiter=limiter, concurrency=workers), due(count), deadline)


def test_an_answer_after_the_end_changes_neither_the_report_nor_the_pace_nor_sends_again() -> None:
    release = threading.Event()
    limiter = limiter_at(10_000)

    def late(task: RecordTask) -> Reply:
        release.wait(5)
        return THROTTLED

    def state() -> tuple[object, ...]:
        return dict(tally.results), tally.api_calls, tally.throttled_calls, list(tally.latencies), limiter.rate

    client = Client(late)
    tally = work(client, 2, seconds=0.2, limiter=limiter).tally
    assert {result.reason for result in tally.results.values()} == {Reason.OUT_OF_TIME}
    before = state()
    time.sleep(1.0)
    release.set()
    time.sleep(0.2)
    assert state() == before
    assert limiter._answers == 0
    assert sorted(client.asked) == [0, 1]


def test_a_thread_that_waits_for_its_turn_when_the_batch_ends_sends_nothing() -> None:
    client = Client(lambda _: OK)
    report = work(client, 4, seconds=0.7, limiter=limiter_at(2))
    sent = len(client.asked)
    time.sleep(1)
    assert len(client.asked) == sent == report.tally.api_calls < 4


def test_nothing_starts_after_the_last_moment_to_start() -> None:
    def slow(_: RecordTask) -> Reply:
        time.sleep(0.3)
        return OK

    client = Client(slow)
    report = work(client, 10, seconds=0.5, workers=1)
    assert len(client.asked) == 2  # at 0 and 0.3 s; the third would start at 0.6 s
    assert sum(result.outcome is Outcome.DELETED for result in report.tally.results.values()) == 1


def test_blocked_ends_the_batch_at_once() -> None:
    client = Client(lambda _: BLOCKED)
    results = work(client, 100, workers=1).tally.results
    assert client.asked == [0]
    assert {result.reason for result in results.values()} == {Reason.BLOCKED}
    assert results[RecordTask("room", 50)].calls == 0


def test_blocked_ends_retries_that_wait() -> None:
    blocked = threading.Event()

    def answer(task: RecordTask) -> Reply:
        if task.task_id == 0:
            return LOST
        time.sleep(0.1)
        blocked.set()
        return BLOCKED

    def wait(_: float) -> None:
        blocked.wait(2)

    client = Client(answer)
    ports = runtime(lambda: client, limiter=limiter_at(1000), concurrency=2, sleep=wait, random=lambda: 0.1)
    now = time.monotonic()
    results = worked_off(ports, due(2), Deadline(0.1, now + 3, now + 4)).tally.results
    assert sorted(client.asked) == [0, 1]
    assert [results[item.task].reason for item in due(2)] == [Reason.TRANSIENT, Reason.BLOCKED]


def test_a_network_that_fails_fast_does_not_speed_up_the_pace() -> None:
    limiter = limiter_at(1000)
    limiter._rate = 100.0
    work(Client(lambda _: LOST), 3, limiter=limiter)
    assert limiter._answers == 0
    work(Client(lambda _: OK), 3, limiter=limiter)
    assert limiter._answers == 3


def test_a_client_that_cannot_be_made_is_told_as_what_it_is_and_costs_the_next_batch_nothing() -> None:
    workers, limiter = WorkerPool(), limiter_at(1000)

    def done(client: Callable[[], LiveClient]) -> dict[RecordTask, TaskResult]:
        deadline = Deadline(0.1, time.monotonic() + 1.9, time.monotonic() + 2)
        return worked_off(runtime(client, workers, limiter, concurrency=2), due(3), deadline).tally.results

    def broken() -> Client:
        raise MemoryError("no room")

    assert {(result.reason, result.detail) for result in done(broken).values()} == {
        (Reason.INTERNAL_ERROR, "MemoryError: no room")
    }
    began = time.monotonic()
    second = done(lambda: Client(lambda _: OK))
    assert time.monotonic() - began < 1
    assert {result.outcome for result in second.values()} == {Outcome.DELETED}


def test_a_job_that_raises_does_not_leave_a_dead_thread_behind() -> None:
    pool = WorkerPool()
    threads = []

    def job() -> None:
        threads.append(threading.current_thread())

    pool.run_on_all(job, 3, 5)
    pool.run_on_all(job, 3, 5)
    assert len(set(threads)) == 3
    idle = list(pool._idle)
    assert len(idle) == 3
    assert all(thread.is_alive() for thread in idle)


def test_threads_end_with_the_pool_that_they_belong_to() -> None:
    pool, threads = WorkerPool(), []

    def job() -> None:
        threads.append(threading.current_thread())

    pool.run_on_all(job, 3, 5)
    del pool
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize(("tried", "bound"), [(1, 0.25), (2, 0.5), (3, 1.0), (10, 4.0), (5000, 4.0)])
def test_waits_are_full_jitter_below_a_doubling_bound(tried: int, bound: float) -> None:
    for share in (0.0, 0.5, 1.0):
        assert retry_wait(tried, share) == share * bound


HINT, ASSERTION = "hint", "assertion"


class TwoKeys(NoLedger):
    """Two index keys lead to one task: the record's own, of a hint, and one of an assertion that only it still knows.

    That one is led to once ``checking``, in the first sweep; then it is ``followed``.
    """

    def __init__(self, task: RecordTask) -> None:
        self._at = time.time() - 9
        self.stored: Stored | None = Stored(Entry(task, domain_name="d", app_name="a", check_at=self._at), HINT)
        self.checking, self.followed = threading.Event(), threading.Event()

    def due(self, now: float) -> Iterator[IndexKey]:
        hinted = self.stored is not None and self.stored.entry.due_at <= now
        return iter([IndexKey(ref, self._at, self._at) for ref in ([HINT] if hinted else []) + [ASSERTION]])

    def resolve(self, key: IndexKey, now: float) -> Resolved | None:
        assert self.stored
        if key.ref == HINT:
            return Resolved(self.stored, self.stored.entry)
        assert self.checking.wait(5)
        self.followed.set()
        return Resolved(self.stored, self.stored.entry.asserted(self._at, {}))

    def load(self, task: RecordTask) -> Stored | None:
        return self.stored

    def save(self, entry: Entry, over: Stored | None) -> Stored:
        self.stored = Stored(entry, HINT)
        return self.stored

    def forget(self, task: RecordTask, stored: Stored | None) -> None:
        self.stored = None


def test_an_assertion_takes_a_task_over_from_a_check_that_is_under_way() -> None:
    """Two index keys lead to it. The check of the hint hangs until the assertion was found, and changes nothing."""
    task = RecordTask("room-1", 1)
    ledger = TwoKeys(task)
    sent: list[type[Delete | Check]] = []

    class Hanging:
        def send(self, call: Delete | Check) -> Reply:
            sent.append(type(call))
            if isinstance(call, Delete):
                return OK
            ledger.checking.set()
            assert ledger.followed.wait(5)
            time.sleep(0.05)
            return Reply(request_id="r", off_air=False)

    ports = runtime(Hanging, limiter=limiter_at(200), concurrency=2, ledger=ledger)
    report = worked_off(ports, [], Deadline.after(time.monotonic(), 20), ledger.due(time.time()))
    assert list(report.tally.swept) == list(report.tally.results) == [task]
    assert report.tally.results[task].outcome is Outcome.DELETED
    assert sent == [Check, Delete]
    assert ledger.stored is None
