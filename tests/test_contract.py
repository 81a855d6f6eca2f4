"""What a message does not say is not done: over HTTP, at the stand-ins of the API and of the bucket."""

from __future__ import annotations

import base64
import json

import pytest

from local.live_api import LiveStandIn
from tests.support import STREAM, TASK, ckafka, cloud_event, retention_expiry, run, stream_end
from tests.test_ledger import DAY, HOUR, MINUTE, World, bucket, world

__all__ = ["bucket", "world"]
IN_A_YEAR = "2027-11-22T10:00:00+08:00"


@pytest.mark.parametrize(
    "field", ["ExpiresAt", "expire_at", "expiresat", "expires-at", "expiry", "retain_until", "ttl"]
)
def test_a_retention_whose_time_is_misspelt_deletes_nothing(api: LiveStandIn, field: str) -> None:
    api.state.add(STREAM, TASK)
    message: dict[str, object] = {"type": "retention-expiry", "stream_name": STREAM, "task_id": TASK, field: IN_A_YEAR}
    assert run(message).outcomes == [("rejected", "unknown_field")]
    assert not api.calls


@pytest.mark.parametrize("message", [retention_expiry(), stream_end(task_id="all", ended_at=1_600_000_000)])
def test_a_time_that_a_serializer_left_out_deletes_nothing(api: LiveStandIn, message: dict[str, object]) -> None:
    api.state.add(STREAM, TASK)
    left_out = {name: value for name, value in message.items() if not name.endswith("_at")}
    assert run(left_out).outcomes == [("rejected", "missing_field")]
    assert not api.calls


@pytest.mark.parametrize("field", ["TaskID", "taskId", "task-id", "task_ids", "tsak_id", None])
def test_a_stream_end_whose_task_id_is_misspelt_or_left_out_ends_none(world: World, field: str | None) -> None:
    for task_id in (1, 2):
        world.api.state.add(STREAM, task_id)
        world.does(ckafka(world.created(task_id=task_id)))
    world.clock.now += 5
    message = {
        "type": "stream-end",
        "stream_name": STREAM,
        "ended_at": world.clock.now,
        **({field: 1} if field else {}),
    }
    done = world.does(ckafka(message, first_offset=9))
    assert done.outcomes == [("rejected", "unknown_field" if field else "missing_field")]
    assert not world.api.calls
    assert len(world.cos.keys("dead/")) == 1


def test_a_stream_end_for_all_ends_all_that_had_started(world: World) -> None:
    for task_id in (1, 2):
        world.api.state.add(STREAM, task_id)
        world.does(ckafka(world.created(task_id=task_id)))
    world.clock.now += 5
    done = world.does(ckafka(stream_end(task_id="all", ended_at=world.clock.now)))
    assert done.outcomes == [("deleted", None)] * 2


def test_one_bad_time_zone_deletes_nothing(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    for time in ("2026-01-01T00:00:00+08:60", "2026-01-01T00:00:00-00:99", "2026-01-01T00:00+2460"):
        assert run(retention_expiry(expires_at=time)).outcomes == [("rejected", "invalid_field")]
    assert not api.calls


@pytest.mark.parametrize("twice", ['"task_id": true, "task_id": 1001', '"task_id": 1001.0, "task_id": 1001'])
def test_an_id_that_is_said_in_two_ways_deletes_nothing(api: LiveStandIn, twice: str) -> None:
    api.state.add(STREAM, TASK)
    message = f'{{"type": "stream-end", "stream_name": "{STREAM}", {twice}}}'
    assert run(ckafka(message)).outcomes == [("rejected", "conflicting_fields")]
    assert not api.calls


@pytest.mark.parametrize("name", [f"{STREAM}\u200b", f"\ufeff{STREAM}", "room\u202e-1", "room\u00ad-1"])
def test_an_invisible_character_is_no_success(api: LiveStandIn, name: str) -> None:
    api.state.add(STREAM, TASK)
    assert run(stream_end(name)).outcomes == [("rejected", "invalid_field")]
    assert not api.calls


def test_a_cloud_event_with_base64_is_carried_out(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    event = {**cloud_event(None), "data_base64": base64.b64encode(json.dumps(stream_end()).encode()).decode()}
    del event["data"]
    assert run({"EventList": [event]}).outcomes == [("deleted", None)]


@pytest.mark.parametrize("attribute", ["taskid", "expiresat", "streamname"])
def test_a_field_beside_the_data_of_a_cloud_event_deletes_nothing(api: LiveStandIn, attribute: str) -> None:
    api.state.add(STREAM, TASK)
    assert run({**cloud_event(stream_end()), attribute: IN_A_YEAR}).outcomes == [("rejected", "unknown_field")]
    assert not api.calls


# -- forwarded requests to create a recording --------------------------------------------------


@pytest.mark.parametrize("end", ["2026-11-22 20:00:00", "2026-11-22+20%3a00%3a00", "2026-11-22T12:00:00Z"])
def test_a_forwarded_request_is_due_a_margin_after_its_end(world: World, end: str) -> None:
    """The clock of these tests says 10:00 UTC, which is 18:00 in China."""
    world.api.state.add(STREAM, TASK)
    request = {"StreamName": STREAM, "DomainName": "push.example.com", "AppName": "live", "EndTime": end}
    forwarded = {"type": "task-created", **request, "StartTime": "2026-11-22 18:00:00", "TaskId": TASK, "MixStream": 0}
    assert world.does(ckafka(forwarded)).outcomes == [("scheduled", None)]
    assert world.sweep_after(2 * HOUR + 9 * MINUTE).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(3 * MINUTE).outcomes == [("deleted", None)]


@pytest.mark.parametrize("more", [{}, {"StartTime": "2027-01-01 00:00:00"}, {"EndTime": "2027-01-01 00:00:00"}])
def test_a_highlight_is_due_a_margin_after_half_an_hour(world: World, more: dict[str, object]) -> None:
    world.api.state.add(STREAM, TASK)
    forwarded = {"type": "task-created", "StreamName": STREAM, "TaskId": TASK, "Highlight": 1, **more}
    assert world.does(ckafka(forwarded)).outcomes == [("scheduled", None)]
    assert world.truth()["started_at"] == world.clock.now
    assert world.sweep_after(39 * MINUTE).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(3 * MINUTE).outcomes == [("deleted", None)]


def test_a_highlight_that_ends_sooner_is_due_sooner(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    forwarded = {"type": "task-created", "StreamName": STREAM, "TaskId": TASK, "Highlight": "1"}
    world.does(ckafka({**forwarded, "EndTime": "2026-11-22 18:10:00"}))
    assert world.sweep_after(19 * MINUTE).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(3 * MINUTE).outcomes == [("deleted", None)]


@pytest.mark.parametrize("more", [{}, {"start_time": 1_795_341_600}, {"Highlight": 0}, {"EndTime_": 1}])
def test_a_task_without_an_end_is_not_remembered_for_ever(world: World, more: dict[str, object]) -> None:
    [(outcome, _)] = world.does(
        ckafka({"type": "task-created", "stream_name": STREAM, "task_id": TASK, **more})
    ).outcomes
    assert outcome == "rejected"
    assert world.cos.keys("tasks/") == []
    assert world.sweep_after(DAY).outcomes == [("ignored", "nothing_due")]
