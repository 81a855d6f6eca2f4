"""Every envelope that the platform delivers, in every variant that occurs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.core.model import Rejection
from handler.intake import triggers
from local.live_api import LiveStandIn
from tests.support import STREAM, TASK, ckafka, cloud_event, cmq, dead_letter, push_callback, run, stream_end, timer

EVENT = stream_end()


def without(fields: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


ENVELOPES = {
    "timer": ("timer", timer(EVENT)),
    "timer, type in lower case": ("timer", {**without(timer(EVENT), "Type"), "type": "timer"}),
    "timer, all keys in lower case": ("timer", {key.lower(): value for key, value in timer(EVENT).items()}),
    "timer with an array": ("timer", timer([EVENT])),
    "ckafka": ("ckafka", ckafka(EVENT)),
    "ckafka, Partition capitalised": (
        "ckafka",
        {"Records": [{"Ckafka": {"topic": "t", "Partition": 1, "offset": 3, "msgBody": json.dumps(EVENT)}}]},
    ),
    "ckafka, partition empty": (
        "ckafka",
        {"Records": [{"Ckafka": {"topic": "t", "partition": "", "offset": 3, "msgBody": json.dumps(EVENT)}}]},
    ),
    "ckafka, without coordinates": ("ckafka", {"Records": [{"Ckafka": {"msgBody": json.dumps(EVENT)}}]}),
    "ckafka, body already decoded": ("ckafka", {"Records": [{"Ckafka": {"offset": 1, "msgBody": EVENT}}]}),
    "cmq": ("cmq", cmq(EVENT)),
    "cmq, owner as string and tags as list": (
        "cmq",
        {"Records": [{"CMQ": {"topicOwner": "1", "msgTag": ["a"], "msgId": "1", "msgBody": json.dumps(EVENT)}}]},
    ),
    "eventbridge connector": ("eventbridge", cloud_event({"topic": "t", "offset": 1, "msgBody": json.dumps(EVENT)})),
    "eventbridge connector, data as string": ("eventbridge", cloud_event(json.dumps({"msgBody": json.dumps(EVENT)}))),
    "eventbridge, data as object": ("eventbridge", cloud_event(EVENT)),
    "eventbridge, data as string": ("eventbridge", cloud_event(json.dumps(EVENT))),
    "eventbridge, data as array": ("eventbridge", cloud_event([EVENT])),
    "eventbridge, type names the event": (
        "eventbridge",
        cloud_event(without(EVENT, "type"), type="com.example.live.stream-end"),
    ),
    "eventbridge, subject misspelt, numeric time": (
        "eventbridge",
        cloud_event(EVENT, subjuect="x", time=1763805600000),
    ),
    "eventbridge, specversion 0": ("eventbridge", cloud_event(EVENT, specversion="0")),
    "eventbridge, specversion 1.0.2": ("eventbridge", cloud_event(EVENT, specversion="1.0.2")),
    "eventbridge list": ("eventbridge", {"EventList": [cloud_event(EVENT)]}),
    "direct": ("direct", EVENT),
    "direct array": ("direct", [EVENT]),
    "direct string": ("direct", json.dumps(EVENT)),
    "dead letter of a direct invocation": ("direct", dead_letter(EVENT)),
    "dead letter of a timer": ("timer", dead_letter(timer(EVENT))),
    "dead letter of ckafka": ("ckafka", dead_letter(ckafka(EVENT))),
    "dead letter, body as string": ("timer", {"Body": json.dumps({"ClientContext": json.dumps(timer(EVENT))})}),
    "dead letter of a dead letter": ("timer", dead_letter(dead_letter(timer(EVENT)))),
    "dead letter through ckafka": ("ckafka", ckafka(dead_letter(EVENT))),
    "dead letter through cmq": ("cmq", cmq(dead_letter(timer(EVENT)))),
}


@pytest.mark.parametrize(("source", "event"), ENVELOPES.values(), ids=ENVELOPES)
def test_the_task_inside_every_envelope_is_deleted(api: LiveStandIn, source: str, event: object) -> None:
    api.state.add(STREAM, TASK)
    done = run(event)
    assert done.outcomes == [("deleted", None)]
    assert done.invocation["source"] == source
    assert done.invocation["messages"] == 1
    assert not api.state.recordings


@pytest.mark.parametrize("message", ["", "  \n", None])
def test_an_empty_timer_message_is_a_sweep(message: object) -> None:
    done = run({"Type": "Timer", "TriggerName": "t", "Time": "2026-11-22T10:05:00Z", "Message": message})
    assert done.tasks[0]["event"] == "sweep"
    assert done.outcomes == [("ignored", "no_ledger")]


UNKNOWN = {
    "cos": {"Records": [{"cos": {"cosObject": {}}, "event": {}}]},
    "cls": {"clslogs": {"data": "H4sI"}},
    "empty object": {},
    "null": None,
    "number": 7,
    "records no array": {"Records": {}},
    "event list no array": {"EventList": "x"},
    "event list of garbage": {"EventList": [7]},
    "dead letter of nothing": {"Body": {"ClientContext": "not json"}},
}


@pytest.mark.parametrize("event", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_envelope_is_one_rejected_line_that_lists_what_is_understood(event: object) -> None:
    done = run(event)
    assert done.outcomes == [("rejected", "unknown_envelope")]
    assert "CKafka" in done.tasks[0]["detail"] or "Ckafka or CMQ" in done.tasks[0]["detail"]
    assert done.raised is None


@pytest.mark.parametrize("event", [{"Records": []}, {"EventList": []}, [], timer([]), ckafka([]), ckafka("")])
def test_an_envelope_without_messages_is_one_rejected_line(event: object) -> None:
    assert run(event).outcomes == [("rejected", "empty")]


def test_an_unknown_record_touches_no_neighbour(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    event = ckafka(EVENT)
    event["Records"] = [{"cos": {}}, 7, {"Ckafka": {"offset": 1}}, *event["Records"]]  # type: ignore[misc]
    done = run(event)
    assert done.outcomes == [
        ("rejected", "unknown_envelope"),
        ("rejected", "unknown_envelope"),
        ("rejected", "missing_field"),
        ("deleted", None),
    ]
    assert done.invocation["source"] == "ckafka"


def ids(event: object) -> list[str]:
    return [message.id for message in triggers.read(event).messages]


def test_message_ids_are_stable_across_redeliveries() -> None:
    for source, event in ENVELOPES.values():
        again = json.loads(json.dumps(event))
        assert ids(event) == ids(again), source


def test_message_ids_are_the_coordinates_that_the_trigger_gives() -> None:
    assert ids(ckafka(EVENT, EVENT, first_offset=36)) == ["ckafka:t:1:36", "ckafka:t:1:37"]
    assert ids(cmq(EVENT)) == ["cmq:t:9"]
    assert ids(timer(EVENT)) == ["timer:tick:2026-11-22T10:05:00Z"]
    assert ids(cloud_event(EVENT)) == ["eventbridge:s:e-1"]
    assert ids(dead_letter(ckafka(EVENT))) == ids(ckafka(EVENT))


def test_messages_in_one_array_have_ids_of_their_own() -> None:
    done = run(timer(["x", "y"]))
    assert [line["message_id"] for line in done.tasks] == [
        "timer:tick:2026-11-22T10:05:00Z#0",
        "timer:tick:2026-11-22T10:05:00Z#1",
    ]


def test_different_direct_messages_have_different_ids() -> None:
    assert ids(stream_end("a")) != ids(stream_end("b"))


def test_a_callback_is_understood_inside_a_queue_message() -> None:
    done = run(ckafka(push_callback()))
    assert done.outcomes == [("ignored", "no_ledger")]
    assert (done.tasks[0]["event"], done.tasks[0]["stream_name"]) == ("callback", STREAM)


def test_a_cloud_event_does_not_make_an_assertion_of_a_callback(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    done = run(cloud_event(push_callback(task_id=TASK), type="com.example.stream-end"))
    assert done.outcomes == [("ignored", "no_ledger")]
    assert not api.calls


@pytest.mark.parametrize(
    ("context", "seconds"),
    [
        ({}, 60),
        (None, 60),
        ("x", 60),
        ({"time_limit_in_ms": 3000}, 3),
        ({"time_limit_in_ms": 900_000}, 900),
        ({"time_limit_in_ms": "3000"}, 60),
        ({"time_limit_in_ms": True}, 60),
        ({"time_limit_in_ms": -1}, 60),
        ({"time_limit_in_ms": 3}, 60),
        ({"time_limit_in_ms": 900}, 60),
        ({"time_limit_in_ms": 999.9}, 60),
        ({"time_limit_in_ms": 1000}, 1),
        ({"time_limit_in_ms": float("nan")}, 60),
    ],
)
def test_the_time_limit_comes_from_the_context(context: object, seconds: float) -> None:
    assert triggers.time_limit(context) == seconds


def test_an_event_nested_beyond_all_reason_is_rejected() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    delivery = triggers.read({"Body": deep})
    assert isinstance(delivery.messages[0].body, Rejection)
    assert run(ckafka("[" * 100_000)).outcomes == [("rejected", "not_json")]
