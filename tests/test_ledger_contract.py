"""What every ledger that remembers has to do, whatever its storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from handler.adapters.cos_bucket import Bucket
from handler.adapters.cos_ledger import CosLedger
from handler.adapters.http_session import HttpSession
from handler.adapters.no_ledger import NoLedger
from handler.core.entry import Entry, Failure
from handler.core.model import Outcome, Reason, RecordTask, TaskResult
from handler.core.ports import Ledger
from handler.settings import Settings
from local.cos import CosStandIn
from local.live_api import LiveStandIn
from local.memory_ledger import MemoryLedger
from tests.support import FakeClock, never

TASK, OTHER = RecordTask("room-1", 7), RecordTask("room-1", 8)
FAILED = TaskResult(Outcome.FAILED, Reason.INVALID, "no")


class Under(NamedTuple):
    """A ledger under test, and how many dead letters it has."""

    ledger: Ledger
    clock: FakeClock
    letters: Callable[[], int]


@pytest.fixture(params=["COS", "memory"])
def under(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Under]:
    clock = FakeClock()
    if request.param == "memory":
        memory = MemoryLedger()
        yield Under(memory, clock, lambda: len(memory.letters))
        return
    with CosStandIn(clock=clock) as cos, LiveStandIn() as api:
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        location = Settings.for_tools({"REAPER_LEDGER": cos.ledger}).ledger
        assert location
        numbers = (number / 1_000 for number in range(1_000))
        bucket = Bucket(location, HttpSession(), 5.0, never, lambda: 0.5)
        yield Under(CosLedger(bucket, numbers.__next__), clock, lambda: len(cos.keys("dead/")))


def whole(now: float) -> Entry:
    return Entry(
        TASK, "push.example.com", "live", now - 9, now + 60, now + 30, now - 5, now - 1,
        (Failure("Code", "no", 2, now - 8, now - 7),), {"message_id": "m"}, now - 10,
    )  # fmt: skip


def test_what_is_saved_is_loaded_as_it_was(under: Under) -> None:
    entry = whole(under.clock.now)
    saved = under.ledger.save(entry, None)
    assert saved is not None
    assert under.ledger.load(TASK) == saved
    assert saved.entry == entry


def test_what_nobody_saved_is_not_there(under: Under) -> None:
    assert under.ledger.load(TASK) is None
    assert under.ledger.tasks_of("room-1") == []
    assert list(under.ledger.due(under.clock.now + 1e6)) == []


def test_the_tasks_of_a_stream_are_known(under: Under) -> None:
    for task in (TASK, OTHER, RecordTask("room-2", 7)):
        under.ledger.save(Entry(task), None)
    assert sorted(under.ledger.tasks_of("room-1")) == [TASK, OTHER]


def test_what_is_due_is_found_the_oldest_first(under: Under) -> None:
    now = under.clock.now
    for task, at in ((TASK, now - 60), (OTHER, now - 600), (RecordTask("room-2", 9), now + 3_600)):
        under.ledger.save(Entry(task, delete_at=at), None)
    found = [under.ledger.resolve(key, now) for key in under.ledger.due(now)]
    assert [resolved and resolved.entry.task for resolved in found] == [OTHER, TASK]
    assert [resolved and resolved.stored.entry for resolved in found] == [
        resolved and resolved.entry for resolved in found
    ]


def test_a_key_of_this_minute_leads_nowhere_before_its_second(under: Under) -> None:
    now = under.clock.now // 60 * 60
    under.ledger.save(Entry(TASK, delete_at=now + 30), None)
    assert [under.ledger.resolve(key, now) for key in under.ledger.due(now)] in ([], [None])
    assert [bool(under.ledger.resolve(key, now + 30)) for key in under.ledger.due(now + 30)] == [True]


def test_what_is_saved_over_takes_its_place(under: Under) -> None:
    now = under.clock.now
    first = under.ledger.save(Entry(TASK, delete_at=now - 60), None)
    under.ledger.save(Entry(TASK, delete_at=now + 3_600), first)
    assert [key for key in under.ledger.due(now) if under.ledger.resolve(key, now)] == []
    assert [bool(under.ledger.resolve(key, now + 3_600)) for key in under.ledger.due(now + 3_600)] == [True]


def test_what_has_no_time_is_remembered_and_never_due(under: Under) -> None:
    under.ledger.save(Entry(TASK, started_at=under.clock.now), None)
    assert under.ledger.load(TASK)
    assert list(under.ledger.due(under.clock.now + 1e8)) == []


def test_what_is_forgotten_is_gone_and_may_be_forgotten_twice(under: Under) -> None:
    saved = under.ledger.save(Entry(TASK, delete_at=under.clock.now - 60), None)
    under.ledger.forget(TASK, saved)
    under.ledger.forget(TASK, saved)
    assert under.ledger.load(TASK) is None
    assert list(under.ledger.due(under.clock.now)) == []


def test_letters_are_kept_beside_what_is_stored(under: Under) -> None:
    under.ledger.save(whole(under.clock.now), None)
    under.ledger.put_letter(whole(under.clock.now), FAILED, under.clock.now)
    under.ledger.put_message_letter("m-1", {"type": "nonsense"}, ["no such type"], under.clock.now, "")
    assert under.letters() == 2
    assert under.ledger.load(TASK)


def test_without_a_ledger_nothing_is_kept() -> None:
    ledger: Ledger = NoLedger()
    assert ledger.save(Entry(TASK, delete_at=0.0), None) is None
    assert ledger.load(TASK) is None
    assert ledger.tasks_of("room-1") == []
    assert list(ledger.due(1e10)) == []
