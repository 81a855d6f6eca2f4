"""CSS callbacks over HTTP: what gets which status, and what an attacker with a captured signature can do."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from local.cos import CosFault
from tests.support import STREAM, TASK, Run, ckafka, push_callback, run, stream_end
from tests.test_ledger import HOUR, World, bucket, world

__all__ = ["bucket", "world"]
KEY = "callback-key"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_CALLBACK_KEY", KEY)


def signed(world: World, **more: object) -> dict[str, object]:
    t = more.get("t", int(world.clock.now) + 600)
    return {**push_callback(0), "event_time": world.clock.now, "t": t, "sign": signature(t), **more}


def signature(t: object) -> str:
    return hashlib.md5(f"{KEY}{t}".encode()).hexdigest()


def http(body: object, **more: object) -> dict[str, object]:
    text = body if isinstance(body, str) else json.dumps(body)
    return {"httpMethod": "POST", "path": "/", "headers": {}, "queryString": {}, "body": text, **more}


def status(done: Run) -> int:
    assert done.returned
    assert done.returned["headers"] == {"Content-Type": "application/json"}
    body: dict[str, Any] = json.loads(done.returned["body"])
    code: int = done.returned["statusCode"]
    assert body["code"] == (0 if code == 200 else code)
    return code


def test_a_signed_interruption_schedules_a_look_and_calls_nobody(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 24 * HOUR)))
    world.clock.now += 5
    done = world.does(http(signed(world)))
    assert status(done) == 200
    assert done.outcomes == [("scheduled", None)]
    assert done.invocation["source"] == "http"
    assert not world.api.calls
    assert world.sweep_after(HOUR).outcomes == [("deleted", None)]


@pytest.mark.parametrize("ahead", [-HOUR, 24 * HOUR])
def test_a_captured_signature_neither_hastens_a_look_nor_puts_it_off(world: World, ahead: float) -> None:
    """CSS repeats for a dozen minutes, so none that is older is believed; and none that is yet to happen."""
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(start_time=world.clock.now - 2 * HOUR)))
    world.clock.now += 5
    assert world.does(http(signed(world, event_time=world.clock.now + ahead))).outcomes == [("scheduled", None)]
    assert world.sweep_after(840).outcomes == [("ignored", "nothing_due")]
    assert not world.api.calls
    assert world.sweep_after(1080).outcomes == [("deleted", None)]


def test_the_older_gateway_may_send_base64(world: World) -> None:
    body = base64.b64encode(json.dumps(signed(world)).encode()).decode()
    event = http(body, isBase64Encoded=True, requestContext={}, headers={"Content-Type": "application/json"})
    assert status(world.does(event)) == 200
    assert status(world.does(http("%%%", isBase64Encoded=True))) == 403


@pytest.mark.parametrize("event_type", [1, 100, 332])
def test_other_callbacks_are_acknowledged(world: World, event_type: int) -> None:
    done = world.does(http(signed(world, event_type=event_type)))
    assert (status(done), done.outcomes) == (200, [("ignored", "not_an_interruption")])


@pytest.mark.parametrize("kind", [["porn", "politics"], [], 7, None, {"a": 1}])
@pytest.mark.parametrize("event_type", [317, 318])
def test_a_callback_with_a_type_of_its_own_is_acknowledged_and_ignored(
    world: World, event_type: int, kind: object
) -> None:
    callback = signed(world, event_type=event_type, type=kind, streamId=STREAM, channelId=STREAM)
    done = world.does(http(callback))
    assert (status(done), done.outcomes) == (200, [("ignored", "not_an_interruption")])
    assert world.does(ckafka(callback)).outcomes == [("ignored", "not_an_interruption")]
    assert world.cos.keys() == []
    assert status(world.does(http({**callback, "sign": "0" * 32}))) == 401


@pytest.mark.parametrize("kind", ["porn", "stream-end", "callback", ""])
@pytest.mark.parametrize("event_type", [0, 1, 317])
def test_a_callback_over_http_has_no_type_that_is_text(world: World, event_type: int, kind: str) -> None:
    done = world.does(http(signed(world, event_type=event_type, type=kind)))
    assert (status(done), done.outcomes) == (403, [("rejected", "forbidden")])
    assert status(world.does(http(signed(world, event_type=317, type=[kind])))) == 200


@pytest.mark.parametrize("kind", [["porn"], 7, None])
def test_an_interruption_with_a_type_of_its_own_is_not_acted_on(world: World, kind: object) -> None:
    """CSS documents none, so what it means is not known."""
    world.does(ckafka(world.created(end_time=world.clock.now + 24 * HOUR)))
    before = world.cos.keys("tasks/") + world.cos.keys("due/")
    assert status(world.does(http(signed(world, type=kind)))) == 403
    assert world.does(ckafka(signed(world, type=kind), first_offset=1)).outcomes == [("rejected", "unknown_type")]
    assert world.does(ckafka(signed(world, type=kind, event_type=1), first_offset=2)).outcomes[0][0] == "ignored"
    assert world.cos.keys("tasks/") + world.cos.keys("due/") == before


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"sign": "0" * 32}, 401, "bad_signature"),
        ({"sign": None}, 401, "bad_signature"),
        ({"sign": 7}, 401, "bad_signature"),
        ({"t": 1_795_341_599}, 401, "bad_signature"),
        ({"t": None}, 401, "bad_signature"),
        ({"t": True}, 401, "bad_signature"),
        ({"t": "9" * 400}, 401, "bad_signature"),
        ({"stream_id": None}, 400, "invalid_field"),
        ({"event_type": "0"}, 400, "invalid_field"),
        ({"type": "stream-end"}, 403, "forbidden"),
        ({"specversion": "1.0"}, 403, "forbidden"),
    ],
)
def test_what_is_no_signed_callback_gets_its_status_and_changes_nothing(
    world: World, change: dict[str, object], code: int, reason: str
) -> None:
    world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    before = world.cos.keys("tasks/") + world.cos.keys("due/")
    done = world.does(http(signed(world, **change) if "t" in change else {**signed(world), **change}))
    assert (status(done), done.outcomes) == (code, [("rejected", reason)])
    assert world.cos.keys("tasks/") + world.cos.keys("due/") == before
    assert done.raised is None


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (http(""), 400),
        (http("Hello"), 400),
        (http("[]"), 403),
        (http("x" * 70_000), 400),
        (http(stream_end()), 403),
        (http("{}", httpMethod="GET"), 403),
        ({"httpMethod": "POST"}, 403),
    ],
)
def test_anything_else_is_turned_away_and_not_kept(world: World, event: object, code: int) -> None:
    assert status(world.does(event)) == code
    assert world.cos.keys() == []


def test_a_captured_signature_can_only_cause_looks_at_known_tasks(world: World) -> None:
    captured = signed(world)
    world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    world.clock.now += 5
    for change in ({"stream_id": "other"}, {"app": "other.example.com"}, {"task_id": TASK, "stream_id": "x"}):
        assert world.does(http({**captured, **change})).outcomes == [("ignored", "no_known_task")]
    assert status(world.does(http({**captured, "type": "stream-end", "task_id": TASK}))) == 403
    assert not world.api.calls


def test_an_expired_signature_is_no_longer_good(world: World) -> None:
    body = signed(world)
    world.clock.now += 601
    assert status(world.does(http(body))) == 401


def test_a_ledger_that_cannot_be_written_is_503_so_that_css_repeats_it(world: World) -> None:
    world.cos.faults.append(CosFault(status=503, times=1000))
    done = world.does(http(signed(world)))
    assert (status(done), done.outcomes) == (503, [("deferred", "ledger_unavailable")])
    assert done.raised is None


def test_without_a_key_or_a_ledger_nobody_is_let_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    body = http(signed(world))
    monkeypatch.delenv("REAPER_CALLBACK_KEY")
    assert "REAPER_CALLBACK_KEY" in world.does(body).tasks[0]["detail"]
    monkeypatch.setenv("REAPER_CALLBACK_KEY", KEY)
    monkeypatch.delenv("REAPER_LEDGER")
    assert status(run(body)) == 403
