"""One task that cannot be dealt with never stops another; and what waits says why, once an hour and not each minute."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.app import build
from local.live_api import Fault, Stream
from tests.support import STREAM, TASK, ckafka, push_callback, retention_expiry, run
from tests.test_ledger import DAY, HOUR, MINUTE, SWEEP, World, bucket, iter_random, world

__all__ = ["bucket", "world"]
# Which of them is listed when plays no part here.
pytestmark = pytest.mark.parametrize("world", [0.0], ids=[""], indirect=True)
CHECK, DELETE = "DescribeLiveStreamState", "DeleteLiveRecord"


def hinted(world: World, *task_ids: int) -> None:
    """Tasks that only a hint makes due, before all others."""
    for task_id in task_ids:
        name = f"hinted-{task_id}"
        world.api.state.add(name, task_id)
        created = world.created(stream_name=name, task_id=task_id, end_time=world.clock.now + 30 * DAY)
        world.does(ckafka(created, first_offset=task_id))
        world.clock.now += 5
        world.does(ckafka(push_callback(0, stream_id=name, event_time=world.clock.now), first_offset=task_id))


@pytest.mark.parametrize(
    "code", ["UnauthorizedOperation.CamNoAuth", "AuthFailure.UnauthorizedOperation", "InvalidAction"]
)
def test_a_forbidden_check_does_not_stop_deletions_that_need_none(world: World, code: str) -> None:
    hinted(world, 1, 2, 3)
    for task_id in range(11, 31):
        world.api.state.add(f"room-{task_id}", task_id)
    world.does(
        ckafka(
            *(
                retention_expiry(stream_name=f"room-{n}", task_id=n, expires_at=world.clock.now + HOUR)
                for n in range(11, 31)
            )
        )
    )
    world.api.misbehave(Fault(error=code), times=999, action=CHECK)
    done = world.sweep_after(2 * HOUR)
    assert sorted(world.api.state.recordings) == [1, 2, 3]
    assert done.outcomes.count(("deferred", "blocked")) == 3
    assert done.raised is None
    assert sum(call.action == CHECK for call in world.api.calls) <= 4, "no more than were under way"
    world.api.behave()
    assert world.sweep_after(MINUTE).outcomes == [("deleted", None)] * 3


def test_a_forbidden_deletion_still_stops_everything(world: World) -> None:
    world.api.misbehave(Fault(error="UnauthorizedOperation.CamNoAuth"), times=999, action=DELETE)
    soon = world.clock.now + MINUTE
    world.does(ckafka(*(retention_expiry(task_id=n, expires_at=soon) for n in range(1, 41))))
    done = world.sweep_after(5 * MINUTE)
    assert set(done.outcomes) == {("deferred", "blocked")}
    assert len(world.api.calls) <= 4


# -- checks that fail, or that cannot be made --------------------------------------------------


def without_target(world: World, **times: float | None) -> str:
    """An entry as only an import could write it: a hint, and no domain to check."""
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    [key] = world.cos.keys("tasks/")
    world.cos.put(key, json.dumps({**world.truth(), "domain_name": None, **times}).encode())
    return key


@pytest.mark.parametrize("app", ["live", None])
def test_an_entry_that_cannot_be_checked_waits_for_its_assertion(world: World, app: str | None) -> None:
    key = without_target(world)
    world.cos.put(key, json.dumps({**world.truth(), "app_name": app}).encode())
    assert world.sweep_after(HOUR).outcomes == [("scheduled", None)]
    assert world.sweep_after(HOUR).outcomes == [("ignored", "nothing_due")]
    assert not world.api.calls
    assert world.sweep_after(DAY).outcomes == [("deleted", None)]


def test_an_entry_that_cannot_be_checked_and_waits_for_nothing_is_a_dead_letter(world: World) -> None:
    without_target(world, asserted_at=None)
    [(outcome, _)] = world.sweep_after(HOUR).outcomes
    assert outcome == "failed"
    assert len(world.cos.keys("dead/")) == 1
    assert world.cos.keys("tasks/") == []
    assert not world.api.calls


@pytest.mark.parametrize("code", ["InternalError", "InvalidParameter", "SomethingNew"])
@pytest.mark.parametrize("asserted", [True, False])
def test_a_check_that_keeps_failing_ends_after_a_week(world: World, code: str, asserted: bool) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 30 * DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    if not asserted:
        [key] = world.cos.keys("tasks/")
        world.cos.put(key, json.dumps({**world.truth(), "asserted_at": None}).encode())
    world.api.misbehave(Fault(error=code), times=99_999, action=CHECK)
    assert world.sweep_after(HOUR).outcomes == [("scheduled", "stream_is_live")]
    first = world.truth()
    assert first["first_due_at"] is not None
    assert world.sweep_after(DAY).outcomes == [("scheduled", "stream_is_live")]
    assert world.truth()["first_due_at"] == first["first_due_at"], "a failed check clears no failures"
    last = world.sweep_after(7 * DAY)
    if asserted:
        assert last.outcomes == [("scheduled", "stream_is_live")]
        assert world.sweep_after(2 * DAY).outcomes == [("ignored", "nothing_due")]
        assert world.sweep_after(30 * DAY).outcomes == [("deleted", None)]
    else:
        assert last.outcomes == [("failed", "gave_up")]
        assert len(world.cos.keys("dead/")) == 1


def test_a_check_that_succeeds_clears_the_failures(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 30 * DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    [key] = world.cos.keys("tasks/")
    world.cos.put(key, json.dumps({**world.truth(), "asserted_at": None}).encode())
    world.api.misbehave(Fault(error="InvalidParameter"), action=CHECK)
    world.sweep_after(HOUR)
    assert world.truth()["tries"] == 1
    world.api.state.push(Stream(STREAM))
    world.sweep_after(HOUR)
    assert world.truth()["tries"] == 0


@pytest.mark.parametrize("state", [None, "", "unknown", 0, ["inactive"], "Inactive"])
def test_a_state_that_is_none_is_a_check_that_failed(world: World, state: object) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 30 * DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    answer = json.dumps({"Response": {"StreamState": state, "RequestId": "r"}}).encode()
    world.api.misbehave(Fault(body=answer), times=99, action=CHECK)
    assert world.sweep_after(HOUR).outcomes == [("scheduled", "stream_is_live")]
    assert world.truth()["tries"] == 1
    assert world.truth()["look_at"] is not None
    assert list(world.api.state.recordings) == [TASK]


# -- several deployments on one ledger ---------------------------------------------------------


def two_deployments(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One whose business the task is not sweeps for three hours, then the other; returns the runs of both."""
    before = {key: world.cos.body(key) for key in world.cos.keys("")}
    ours, theirs = (build(clock=world.clock, sleep=lambda _: None, random=iter_random()) for _ in range(2))
    runs = []
    for _ in range(180):
        world.clock.now += MINUTE
        monkeypatch.setenv("REAPER_STREAMS", "nothing-*")
        runs.append(run(SWEEP, {}, ours))
    assert {key: world.cos.body(key) for key in world.cos.keys("")} == before
    monkeypatch.setenv("REAPER_STREAMS", "room-*")
    runs.append(run(SWEEP, {}, theirs))
    return runs


@pytest.mark.parametrize("kind", ["an assertion", "a hint"])
def test_what_is_another_deployments_stays_due_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += 5
    assertion = retention_expiry(expires_at=world.clock.now + MINUTE)
    world.does(ckafka(assertion if kind == "an assertion" else world.interrupted(), first_offset=1))
    world.clock.now += HOUR
    *ours, theirs = two_deployments(world, monkeypatch)
    told = [outcome for done in ours for outcome in done.outcomes if outcome[0] == "scheduled"]
    assert told == [("scheduled", "stream_not_allowed")] * 3
    assert {done.invocation["oldest_overdue_s"] for done in ours} == {0.0}
    assert theirs.outcomes == [("deleted", None)]


# -- a dry run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a message", "a sweep", "a check"])
def test_a_dry_run_plans_each_task_once_an_hour(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 30 * DAY)))
    world.clock.now += 5
    if kind == "a check":
        world.does(ckafka(world.interrupted(), first_offset=1))
        world.clock.now += 31 * MINUTE
    elif kind == "a sweep":
        world.does(ckafka(retention_expiry(expires_at=world.clock.now + MINUTE), first_offset=1))
        world.clock.now += 2 * MINUTE
    monkeypatch.setenv("REAPER_DRY_RUN", "true")
    event = ckafka(retention_expiry(expires_at=world.clock.now), first_offset=2) if kind == "a message" else SWEEP
    outcomes = world.does(event).outcomes
    for _ in range(5 * 60):
        outcomes += world.sweep_after(MINUTE).outcomes
    planned = outcomes.count(("planned", "dry_run"))
    assert 5 <= planned <= 6
    assert set(outcomes) == {("planned", "dry_run"), ("ignored", "nothing_due")}
    assert list(world.api.state.recordings) == [TASK]
    assert not world.cos.keys("dead/")
    monkeypatch.setenv("REAPER_DRY_RUN", "false")
    done = [world.sweep_after(20 * MINUTE).outcomes for _ in range(3)]
    assert [("deleted", None)] in done


def test_a_dry_run_of_weeks_gives_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    monkeypatch.setenv("REAPER_DRY_RUN", "true")
    for _ in range(40):
        assert world.sweep_after(DAY).outcomes == [("planned", "dry_run")]
    assert world.truth()["tries"] == 0
    monkeypatch.setenv("REAPER_DRY_RUN", "false")
    assert world.sweep_after(2 * HOUR).outcomes == [("deleted", None)]


# -- hints that reach nobody -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"app": "other.example.com"}, "push.example.com/live"),
        ({"appname": "show"}, "push.example.com/live"),
        ({"stream_id": "room-9"}, "no task of this stream"),
        ({"event_time": 1_790_000_000}, "started"),
    ],
)
def test_a_hint_that_reaches_no_task_says_what_there_is_instead(
    world: World, fields: dict[str, object], named: str
) -> None:
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += 5
    done = world.does(ckafka(world.interrupted(**fields), first_offset=1))
    assert done.outcomes == [("ignored", "no_known_task")]
    assert named in done.tasks[0]["detail"]


@pytest.mark.parametrize(
    ("registered", "callback"),
    [
        ({"domain_name": "Push.Example.com"}, {}),
        ({"domain_name": "push.example.com."}, {"app": "PUSH.example.com"}),
        ({"app_name": None}, {"appname": "live"}),
    ],
)
def test_domains_are_compared_as_dns_does_and_a_missing_app_is_live(
    world: World, registered: dict[str, object], callback: dict[str, object]
) -> None:
    world.api.state.add(STREAM, TASK)
    created = world.created(**{"end_time": world.clock.now + DAY, **registered})
    world.does(ckafka({name: value for name, value in created.items() if value is not None}))
    world.clock.now += 5
    assert world.does(ckafka(world.interrupted(**callback), first_offset=1)).outcomes == [("scheduled", None)]
    assert world.truth()["domain_name"] == created["domain_name"], "what is stored stays as it was sent"
    assert world.sweep_after(HOUR).outcomes == [("deleted", None)]
