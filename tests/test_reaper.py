"""The reaper alone, with a client that does what the test wants: what the network makes hard to time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from handler.crew import Crew
from handler.error_codes import ErrorClass
from handler.ledger import Due, Entry, Pointer
from handler.live import Answer
from handler.model import Outcome, Reason, RecordTask, Report, Result
from handler.pacer import Pacer
from handler.reaper import Deadline, Reaper, Retry, Work

OK = Answer(request_id="r")
LOST = Answer(ErrorClass.TRANSIENT, "ClientNetworkError", "lost", ambiguous=True)
THROTTLED = Answer(ErrorClass.THROTTLED, "RequestLimitExceeded", "slower", "r")
BLOCKED = Answer(ErrorClass.BLOCKED, "AuthFailure", "no", "r")


class Client:
    """Answers with what ``answer`` says for a task."""

    def __init__(self, answer: Callable[[RecordTask], Answer]) -> None:
        self._answer = answer
        self.asked: list[int] = []

    def delete(self, task: RecordTask) -> Answer:
        self.asked.append(task.task_id)
        return self._answer(task)

    def is_live(self, domain_name: str, app_name: str, stream_name: str) -> Answer:
        raise AssertionError("nothing here is due because of a hint")


def due(count: int) -> list[Due]:
    return [Due(RecordTask("room", number), time.time()) for number in range(count)]


def todo(due: list[Due]) -> Work:
    return Work(due, lambda _, result: result, None, lambda _: None, lambda _: None)


def work(
    client: Client, count: int, seconds: float = 2.0, hands: int = 4, pacer: Pacer | None = None, **more: object
) -> tuple[Report, Reaper]:
    pacer = pacer or Pacer(10_000, time.monotonic, time.sleep)
    reaper = Reaper(pacer, Crew(), time.monotonic, time.sleep, lambda: 0.0)
    now = time.monotonic()
    deadline = Deadline(0.1, now + seconds - 0.1, now + seconds)
    return reaper.work_off(todo(due(count)), lambda: client, time.time(), deadline, hands), reaper


def test_an_answer_after_the_end_changes_neither_the_report_nor_the_pace_nor_sends_again() -> None:
    release = threading.Event()
    pacer = Pacer(10_000, time.monotonic, time.sleep)

    def late(task: RecordTask) -> Answer:
        release.wait(5)
        return THROTTLED

    client = Client(late)
    report, _ = work(client, 2, seconds=0.2, pacer=pacer)
    assert {result.reason for result in report.results.values()} == {Reason.OUT_OF_TIME}
    before = (dict(report.results), report.api_calls, report.throttled_calls, list(report.latencies), pacer.rate)
    time.sleep(1.0)
    release.set()
    time.sleep(0.2)
    after = (dict(report.results), report.api_calls, report.throttled_calls, list(report.latencies), pacer.rate)
    assert after == before
    assert pacer._answers == 0
    assert sorted(client.asked) == [0, 1]


def test_a_thread_that_waits_for_its_turn_when_the_batch_ends_sends_nothing() -> None:
    pacer = Pacer(2, time.monotonic, time.sleep)
    client = Client(lambda _: OK)
    report, _ = work(client, 4, seconds=0.7, pacer=pacer)
    sent = len(client.asked)
    time.sleep(1)
    assert len(client.asked) == sent == report.api_calls < 4


def test_nothing_starts_after_the_last_moment_to_start() -> None:
    def slow(_: RecordTask) -> Answer:
        time.sleep(0.3)
        return OK

    client = Client(slow)
    report, _ = work(client, 10, seconds=0.5, hands=1)
    assert len(client.asked) == 2  # at 0 and 0.3 s; the third would start at 0.6 s
    assert sum(result.outcome is Outcome.DELETED for result in report.results.values()) == 1


def test_blocked_ends_the_batch_at_once() -> None:
    client = Client(lambda _: BLOCKED)
    report, _ = work(client, 100, hands=1)
    assert client.asked == [0]
    assert {result.reason for result in report.results.values()} == {Reason.BLOCKED}
    assert report.results[RecordTask("room", 50)].calls == 0


def test_blocked_ends_retries_that_wait() -> None:
    blocked = threading.Event()

    def answer(task: RecordTask) -> Answer:
        if task.task_id == 0:
            return LOST
        time.sleep(0.1)
        blocked.set()
        return BLOCKED

    def wait(_: float) -> None:
        blocked.wait(2)

    client = Client(answer)
    reaper = Reaper(Pacer(1000, time.monotonic, time.sleep), Crew(), time.monotonic, wait, lambda: 0.1)
    now = time.monotonic()
    report = reaper.work_off(todo(due(2)), lambda: client, time.time(), Deadline(0.1, now + 3, now + 4), 2)
    assert sorted(client.asked) == [0, 1]
    assert [report.results[item.task].reason for item in due(2)] == [Reason.TRANSIENT, Reason.BLOCKED]


def test_a_network_that_fails_fast_does_not_speed_up_the_pace() -> None:
    pacer = Pacer(1000, time.monotonic, time.sleep)
    pacer._rate = 100.0
    work(Client(lambda _: LOST), 3, pacer=pacer)
    assert pacer._answers == 0
    work(Client(lambda _: OK), 3, pacer=pacer)
    assert pacer._answers == 3


def test_a_client_that_cannot_be_made_is_told_as_what_it_is_and_costs_the_next_batch_nothing() -> None:
    reaper = Reaper(Pacer(1000, time.monotonic, time.sleep), Crew(), time.monotonic, time.sleep, lambda: 0.0)

    def deadline() -> Deadline:
        return Deadline(0.1, time.monotonic() + 1.9, time.monotonic() + 2)

    def broken() -> Client:
        raise MemoryError("no room")

    first = reaper.work_off(todo(due(3)), broken, time.time(), deadline(), 2)
    assert {(result.reason, result.detail) for result in first.results.values()} == {
        (Reason.INTERNAL_ERROR, "MemoryError: no room")
    }
    began = time.monotonic()
    second = reaper.work_off(todo(due(3)), lambda: Client(lambda _: OK), time.time(), deadline(), 2)
    assert time.monotonic() - began < 1
    assert {result.outcome for result in second.results.values()} == {Outcome.DELETED}


def test_a_job_that_raises_does_not_leave_a_dead_thread_behind() -> None:
    crew = Crew()
    threads = []

    def job() -> None:
        threads.append(threading.current_thread())

    crew.run(job, 3, 5)
    crew.run(job, 3, 5)
    assert len(set(threads)) == 3
    idle = list(crew._idle)
    assert len(idle) == 3
    assert all(thread.is_alive() for thread in idle)


def test_threads_end_with_the_crew_that_they_belong_to() -> None:
    crew, threads = Crew(), []

    def job() -> None:
        threads.append(threading.current_thread())

    crew.run(job, 3, 5)
    del crew
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize(("tried", "bound"), [(1, 0.25), (2, 0.5), (3, 1.0), (10, 4.0), (5000, 4.0)])
def test_waits_are_full_jitter_below_a_doubling_bound(tried: int, bound: float) -> None:
    retry = Retry(tries=3, first=0.25, most=4.0)
    for share in (0.0, 0.5, 1.0):
        assert retry.wait(tried, iter([share]).__next__) == share * bound


def test_a_look_that_was_outdone_does_not_change_the_result() -> None:
    """Two pointers lead to one task: a hint, whose look hangs, and an assertion, which deletes."""
    deleted, looking = threading.Event(), threading.Event()

    class Outdone:
        def delete(self, _: RecordTask) -> Answer:
            return Answer(request_id="r")

        def is_live(self, *_: str) -> Answer:
            looking.set()
            assert deleted.wait(5)
            time.sleep(0.05)
            return Answer(ErrorClass.BLOCKED, "NoCredentials", "none", sent=False)

    task, now = RecordTask("room-1", 1), time.time()
    entry = Entry(task, domain_name="d", app_name="a", look_at=now - 9)

    def claim(pointer: Pointer) -> Due:
        if pointer.key == "hint":
            return Due(task, now - 9, entry, look=True)
        assert looking.wait(5)
        return Due(task, now - 9, entry)

    def settle(_: Due, result: Result) -> Result:
        deleted.set()
        return result

    reaper = Reaper(Pacer(200, time.monotonic, time.sleep), Crew(), time.monotonic, time.sleep, lambda: 0.0)
    pointers = iter([Pointer("hint", now - 9, now - 9), Pointer("assertion", now - 9, now - 9)])
    work = Work([], settle, pointers, claim, lambda _: None)
    report = reaper.work_off(work, Outdone, now, Deadline.after(time.monotonic(), 20), 2)
    assert report.results[task].outcome is Outcome.DELETED
