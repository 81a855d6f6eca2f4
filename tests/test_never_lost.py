"""With a ledger, what was accepted is deleted in the end, or becomes a dead letter: never only a line in the log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.app import RedeliveryNeeded
from local.cos import CosFault
from local.live_api import Fault
from tests.support import STREAM, TASK, ckafka, cloud_event, retention_expiry, stream_end
from tests.test_ledger import DAY, HOUR, MINUTE, World, bucket, world

__all__ = ["bucket", "world"]

# Which of them is listed when plays no part here.
pytestmark = pytest.mark.parametrize("world", [0.0], ids=[""], indirect=True)
BUSY = Fault(error="FailedOperation.AlterTaskState")


def letters(world: World) -> list[dict[str, Any]]:
    return [json.loads(world.cos.body(key)) for key in world.cos.keys("dead/")]


def refuse(world: World, *, index: float = 0, dead: float = 0, dead_status: int = 400, status: int = 400) -> None:
    """Lets COS refuse so many writes of index keys and of dead letters."""
    left = {"due": index, "dead": dead}

    def of_key(method: str, key: str) -> CosFault | None:
        folder = key.split("/")[1] if method == "PUT" else ""
        if left.get(folder, 0) < 1:
            return None
        left[folder] -= 1
        return CosFault(status=status if folder == "due" else dead_status)

    world.cos.gate_of_key = of_key


def registered(world: World) -> object:
    return ckafka(world.created(end_time=world.clock.now + HOUR))


def retained(world: World) -> object:
    return retention_expiry(expires_at=world.clock.now + HOUR)


def ended_while_busy(world: World) -> object:
    world.api.misbehave(BUSY)
    return ckafka(stream_end())


ACCEPTED = [registered, retained, ended_while_busy]


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("status", [400, 411, 413])
def test_what_cos_refuses_becomes_a_dead_letter(world: World, accepted: Any, status: int) -> None:
    world.api.state.add(STREAM, TASK)
    refuse(world, index=1, status=status)
    done = world.does(accepted(world))
    assert done.outcomes == [("failed", "ledger_refused")]
    assert done.raised is None
    [letter] = letters(world)
    assert str(TASK) in json.dumps(letter)


@pytest.mark.parametrize("accepted", ACCEPTED)
def test_a_letter_that_cos_refuses_is_written_without_its_body(world: World, accepted: Any) -> None:
    world.api.state.add(STREAM, TASK)
    refuse(world, index=1, dead=1)
    assert world.does(accepted(world)).outcomes == [("failed", "ledger_refused")]
    [letter] = letters(world)
    assert "left out" in json.dumps(letter)
    assert str(TASK) in json.dumps(letter), "it is said whom it is about all the same"


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("dead_status", [400, 500, 403])
def test_what_cannot_even_be_a_dead_letter_is_raised_and_delivered_again(
    world: World, accepted: Any, dead_status: int
) -> None:
    world.api.state.add(STREAM, TASK)
    event = accepted(world)
    refuse(world, index=1, dead=9, dead_status=dead_status)
    done = world.does(event)
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert isinstance(done.raised, RedeliveryNeeded)
    refuse(world)
    world.does(event)
    world.sweep_after(2 * HOUR)
    assert not world.api.state.recordings


@pytest.mark.parametrize("body", [b"", b"garbage", b'{"task": {}}'])
def test_an_end_of_a_task_whose_entry_cannot_be_read_is_a_dead_letter_while_the_api_is_busy(
    world: World, body: bytes
) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    [key] = world.cos.keys("tasks/")
    world.cos.put(key, body)
    world.api.misbehave(BUSY)
    assert world.does(ckafka(stream_end(), first_offset=1)).outcomes == [("failed", "ledger_refused")]
    [letter] = letters(world)
    assert letter["task_id"] == str(TASK)
    assert letter["message"]["message_id"] == "ckafka:t:1:1"
    assert world.cos.body(key) == body, "what was not understood stays where it is"


def test_a_due_task_whose_entry_cannot_be_written_is_a_dead_letter(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    world.api.misbehave(BUSY)
    refuse(world, index=1)
    assert world.sweep_after(3 * MINUTE).outcomes == [("failed", "ledger_refused")]
    [letter] = letters(world)
    assert letter["entry"]["asserted_at"]
    assert world.cos.keys("tasks/") == []


# -- one letter for each -----------------------------------------------------------------------

LONG = "live-platform-recording-lifecycle-events-production-in-guangzhou/"


def _of_one_delivery(*ids: str) -> object:
    data = [{"type": "stream-end", "stream_name": f"room-{n}", "task_id": "0"} for n in range(len(ids))]
    return {"EventList": [cloud_event(of, id=name) for of, name in zip(data, ids, strict=True)]}


@pytest.mark.parametrize(
    "ids",
    [
        (LONG + "1", LONG + "2", LONG + "3"),
        ("same", "same", "same"),
        ("x" * 200 + "1", "x" * 200 + "2", "x" * 128 + "3"),
    ],
)
def test_messages_whose_ids_agree_have_a_letter_each(world: World, ids: tuple[str, ...]) -> None:
    world.does(_of_one_delivery(*ids))
    assert len(letters(world)) == 3
    world.does(_of_one_delivery(*ids))
    assert len(letters(world)) == 3, "delivered again, it is the same letter"


@pytest.mark.parametrize("size", [2, 5])
def test_each_message_that_the_ledger_refuses_is_kept(world: World, size: int) -> None:
    """All of one stream, so that they are decided on together; two share an id."""
    events = [
        cloud_event(retention_expiry(task_id=n + 1, expires_at=world.clock.now + HOUR), id="same", source="backend")
        for n in range(size)
    ]
    refuse(world, index=99)
    done = world.does({"EventList": events})
    assert done.outcomes == [("failed", "ledger_refused")] * size
    kept = {letter["body"]["data"]["task_id"] for letter in letters(world)}
    assert kept == set(range(1, size + 1))


def test_what_one_message_says_of_two_streams_is_two_letters(world: World) -> None:
    refuse(world, index=99)
    bodies = [retention_expiry(stream_name=name, expires_at=world.clock.now + HOUR) for name in ("room-a", "room-b")]
    world.does(ckafka([*bodies, {"type": "nonsense"}]))
    assert len(letters(world)) == 3


@pytest.mark.parametrize("between", [0.0, HOUR])
def test_two_lives_of_a_task_have_a_letter_each(world: World, between: float) -> None:
    world.api.state.add(STREAM, TASK)
    for offset in range(3):
        world.api.misbehave(Fault(error="InvalidParameter.InvalidTaskId"))
        assert world.does(ckafka(stream_end(), first_offset=offset)).outcomes == [("failed", "invalid")]
        world.clock.now += between
    assert len(letters(world)) == 3


@pytest.mark.parametrize("depths", [(900, 901), (950, 920)])
def test_messages_nested_as_deep_as_can_be_have_a_letter_each(world: World, depths: tuple[int, ...]) -> None:
    for depth in depths:
        body: object = 1
        for _ in range(depth):
            body = [body]
        world.does({"type": "stream-end", "stream_name": body})
    assert len(letters(world)) == 2
