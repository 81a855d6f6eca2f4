"""The event contract, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler import messages
from handler.model import Rejection
from tests.support import STREAM, TASK, ckafka, cloud_event, push_callback, retention_expiry, run, stream_end

NOW = 1_795_341_600.0  # 2026-11-22T10:00:00Z
CREATED = {"type": "task-created", "stream_name": STREAM, "task_id": TASK}


def read(body: object) -> Any:
    found = list(messages.read(body, NOW))
    return found[0] if len(found) == 1 else found


def rejected(body: object) -> Rejection:
    found = read(body)
    assert isinstance(found, Rejection), found
    return found


# -- task ids ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", [1, 7, 2**53 + 1, 2**63 - 1])
def test_a_task_id_is_an_integer_or_its_digits(task_id: int) -> None:
    assert read(stream_end(task_id=task_id)).task_id == task_id
    assert read(stream_end(task_id=str(task_id))).task_id == task_id


@pytest.mark.parametrize(
    "task_id",
    [0, -1, 2**63, 10**400, 1.0, 1.5, True, False, None, [], {}, "", "0", "007", "-7", "+7", " 7", "7 ", "7.0", "1e3",
     "٣", "7\n", str(2**63), "9" * 5000],
)  # fmt: skip
def test_anything_else_is_no_task_id(task_id: object) -> None:
    rejection = rejected(stream_end(task_id=task_id))
    assert rejection.reason == "invalid_field"
    assert rejection.detail.startswith("task_id: ")
    assert "other API family" not in rejection.detail
    assert len(rejection.detail) < 400


@pytest.mark.parametrize("task_id", ["abc", "MTIz-0", "0x1f", "7a"])
def test_an_id_of_the_other_api_family_is_called_that(task_id: str) -> None:
    assert "other API family" in rejected(stream_end(task_id=task_id)).detail


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "room-1", "房间", "a b", "🎥", "x" * 256, "a/b?c=%20", "ﬁ", "a\u200bb"])
def test_a_stream_name_is_taken_as_it_is(name: str) -> None:
    assert read(stream_end(name)).stream_name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "x" * 257,
        " a",
        "a ",
        "a\n",
        "\ta",
        "a\x00b",
        "a\x7fb",
        "a\x85b",
        "a\ud800b",
        "\u3000a",
        None,
        7,
        True,
        [],
    ],
)
def test_a_bad_stream_name_is_rejected_never_trimmed(name: object) -> None:
    rejection = rejected(stream_end(name))
    assert (rejection.reason, rejection.stream_name) == ("invalid_field", None)
    assert rejection.detail.startswith("stream_name: ")
    assert rejection.detail.isprintable()


# -- spellings ---------------------------------------------------------------------------------


def test_the_apis_own_spellings_are_understood() -> None:
    event = read({"type": "task-created", "StreamName": STREAM, "TaskId": TASK, "DomainName": "d", "AppName": "a"})
    assert (event.stream_name, event.task_id, event.domain_name, event.app_name) == (STREAM, TASK, "d", "a")


def test_both_spellings_may_agree() -> None:
    assert read(stream_end(TaskId=str(TASK), StreamName=STREAM)).task_id == TASK


@pytest.mark.parametrize("more", [{"TaskId": 7}, {"TaskId": True}, {"TaskId": None}, {"StreamName": "other"}])
def test_both_spellings_must_not_differ(more: dict[str, object]) -> None:
    rejection = rejected(stream_end(task_id=1, **more))
    assert rejection.reason == "conflicting_fields"
    assert next(iter(more)) in rejection.detail


def test_a_field_sent_twice_with_different_values_is_rejected() -> None:
    twice = '{"type": "stream-end", "stream_name": "a", "task_id": 1, "task_id": 2}'
    rejection = rejected(twice)
    assert rejection.reason == "conflicting_fields"
    assert '"task_id"' in rejection.detail
    assert read(twice.replace("2}", "1}")).task_id == 1


def test_unknown_fields_are_ignored() -> None:
    assert read(stream_end(extra={"a": [1]}, StreamId="x")).task_id == TASK


@pytest.mark.parametrize("kind", ["stream_end", "Stream-End", "", "record-deleted", 7, None, ["stream-end"], {}])
def test_an_unknown_type_is_rejected_with_the_known_ones(kind: object) -> None:
    rejection = rejected(stream_end(type=kind))
    assert rejection.reason == "unknown_type"
    assert "stream-end, retention-expiry, task-created, sweep" in rejection.detail


def test_a_missing_type_is_said_to_be_missing() -> None:
    assert rejected({"stream_name": "a", "task_id": 1}).reason == "missing_field"


# -- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (1_795_341_600, NOW),
        (1_795_341_600.5, NOW + 0.5),
        ("1795341600", NOW),
        ("2026-11-22T10:00:00Z", NOW),
        ("2026-11-22T10:00:00z", NOW),
        ("2026-11-22t18:00:00+08:00", NOW),
        ("2026-11-22 18:00:00+08:00", NOW),
        ("2026-11-22T10:00:00.5Z", NOW + 0.5),
        ("2026-11-22T10:00:00.123456789Z", NOW + 0.123456),
        ("2026-11-22T05:00:00-05:00", NOW),
        ("2015-01-01T00:00:00Z", 1_420_070_400),
        (NOW + 400 * 86_400, NOW + 400 * 86_400),
    ],
)
def test_a_time_is_rfc_3339_with_an_offset_or_unix_seconds(text: object, seconds: float) -> None:
    assert read(retention_expiry(expires_at=text)).expires_at == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "time",
    [None, True, [], "", "soon", "2026-11-22", "2026-11-22T10:00Z", "2026-13-22T10:00:00Z", "2026-11-31T10:00:00Z",
     "2026-11-22T24:00:00Z", "2026-11-22T10:00:00+0800", "2026-11-22T10:00:00+25:00", "0000-01-01T00:00:00Z",
     " 1795341600", "-1", 0, -1, 1_420_070_399, NOW + 401 * 86_400, float("nan"), float("inf"), 10**30, "9" * 20,
     "1.5"],
)  # fmt: skip
def test_any_other_time_is_rejected(time: object) -> None:
    rejection = rejected(retention_expiry(expires_at=time))
    assert rejection.reason == "invalid_field"
    assert rejection.detail.startswith("expires_at: ")


def test_a_naive_time_is_rejected_with_the_way_out() -> None:
    assert "append +08:00" in rejected(retention_expiry(expires_at="2026-11-22 18:00:00")).detail


@pytest.mark.parametrize("time", [1_795_341_600_000, "1795341600000"])
def test_milliseconds_are_recognised(time: object) -> None:
    assert "looks like milliseconds" in rejected(retention_expiry(expires_at=time)).detail


@pytest.mark.parametrize("field", ["start_time", "end_time", "expires_at", "domain_name", "app_name"])
def test_null_is_no_value_for_an_optional_field(field: str) -> None:
    assert read({**CREATED}).task_id == TASK
    assert rejected({**CREATED, field: None}).detail.startswith(f"{field}: null: ")


# -- types -------------------------------------------------------------------------------------


def test_a_stream_end_names_a_task_or_the_moment() -> None:
    assert read({"type": "stream-end", "stream_name": "a", "ended_at": NOW}).task_id is None
    rejection = rejected({"type": "stream-end", "stream_name": "a"})
    assert rejection.reason == "missing_field"
    assert "ended_at" in rejection.detail


@pytest.mark.parametrize("field", ["stream_name", "task_id"])
@pytest.mark.parametrize("event", [retention_expiry(), CREATED])
def test_required_fields_are_named_when_missing(event: dict[str, object], field: str) -> None:
    rejection = rejected({name: value for name, value in event.items() if name != field})
    assert (rejection.reason, rejection.detail) == ("missing_field", f"{field}: missing")


def test_every_mistake_is_told_at_once() -> None:
    detail = rejected({"type": "retention-expiry", "stream_name": " ", "task_id": 0, "expires_at": "x"}).detail
    assert detail.count("; ") == 2


def test_a_rejection_says_what_could_be_read() -> None:
    rejection = rejected(stream_end(task_id=0))
    assert (rejection.event, rejection.stream_name) == ("stream-end", STREAM)


def test_event_type_zero_is_not_taken_for_missing() -> None:
    event = read(push_callback(0, event_time=NOW, task_id=99))
    assert isinstance(event, messages.Interruption)
    assert (event.domain_name, event.app_name, event.stream_name) == ("push.example.com", "live", STREAM)
    assert messages.subject(event) == (STREAM, None)


@pytest.mark.parametrize("event_type", [1, 100, 200, 314, 315, 317, 321, 332, 341, -1])
def test_other_callbacks_need_nothing_else(event_type: int) -> None:
    assert isinstance(read({"event_type": event_type, "streamId": "x", "domain": "d"}), messages.OtherCallback)


@pytest.mark.parametrize("event_type", ["0", None, True, False, 0.0, []])
def test_an_event_type_is_an_integer(event_type: object) -> None:
    assert rejected(push_callback(event_type)).detail.startswith("event_type: ")


@pytest.mark.parametrize("field", ["app", "appname", "stream_id", "event_time"])
def test_an_interruption_needs_to_say_where_and_when(field: str) -> None:
    callback = push_callback(0, event_time=NOW)
    del callback[field]
    assert rejected(callback).detail == f"{field}: missing"


@pytest.mark.parametrize("duration", ["128581", 128581])
def test_a_callback_may_bring_more_fields(duration: object) -> None:
    assert isinstance(read(push_callback(0, event_time=NOW, push_duration=duration, new={})), messages.Interruption)


# -- bodies ------------------------------------------------------------------------------------


def test_json_in_strings_is_decoded_three_deep() -> None:
    body = json.dumps(stream_end())
    for _ in range(2):
        body = json.dumps(body)
    assert read(body).task_id == TASK
    assert rejected(json.dumps(body)).reason == "too_deep"


@pytest.mark.parametrize(
    "body", ["Hello from CKafka!", "{", "NaN", "{'a': 1}", '{"a": Infinity}', "1" * 5000, "[" * 9999]
)
def test_text_that_is_not_json_is_rejected(body: str) -> None:
    assert rejected(body).reason == "not_json"


@pytest.mark.parametrize("body", ["7", "null", "true", 7, None, 1.5, [[stream_end()]], "[[]]"])
def test_json_that_is_no_object_is_rejected(body: object) -> None:
    assert rejected(body).reason == "not_an_object"


def test_one_bad_message_never_touches_its_neighbours() -> None:
    found = read([stream_end(), 7, "x", stream_end(task_id=0), json.dumps(stream_end(task_id=9)), {}])
    assert [getattr(event, "task_id", None) or event.reason for event in found] == [
        TASK, "not_an_object", "not_json", "invalid_field", 9, "missing_field",
    ]  # fmt: skip


def test_a_cloud_event_is_unwrapped_wherever_it_stands() -> None:
    data = {"stream_name": STREAM, "task_id": TASK}
    event = cloud_event(data, type="com.example.retention-expiry")
    assert read(event).type == "retention-expiry"
    assert read(json.dumps(event)).type == "retention-expiry"
    assert read([event, cloud_event({**data, "type": "stream-end"})])[1].type == "stream-end"
    assert read(cloud_event([data, data], type="stream-end"))[1].type == "stream-end"
    assert read({"specversion": "1.0", "type": "x.sweep"}).type == "sweep"


def test_a_cloud_event_inside_a_cloud_event_is_rejected() -> None:
    assert rejected(cloud_event(cloud_event(stream_end()))).reason == "too_deep"


def test_a_rejection_shows_the_value_shortened_and_escaped() -> None:
    detail = run(ckafka("\x1b[31m" + "x" * 100_000)).tasks[0]["detail"]
    assert len(detail) < 200
    assert "\\x1b[31mxxx" in detail
