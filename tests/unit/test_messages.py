"""The event contract, field by field."""

from __future__ import annotations

import base64
import json
import sys
import unicodedata
from typing import Any

import pytest

from handler.core.events import Interruption, OtherCallback
from handler.core.model import Rejection
from handler.core.plan import stream_of, task_of
from handler.intake import messages
from tests.support import STREAM, TASK, ckafka, cloud_event, push_callback, retention_expiry, run, stream_end

NOW = 1_795_341_600.0  # 2026-11-22T10:00:00Z
CREATED = {"type": "task-created", "stream_name": STREAM, "task_id": TASK, "end_time": NOW + 3600}
MINUTE = 60.0


def read(body: object) -> Any:
    found = list(messages.read(body, NOW))
    return found[0] if len(found) == 1 else found


def rejected(body: object) -> Rejection:
    found = read(body)
    assert isinstance(found, Rejection), found
    return found


def without(message: dict[str, object], *fields: str) -> dict[str, object]:
    return {name: value for name, value in message.items() if name not in fields}


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


@pytest.mark.parametrize(
    "name", ["a", "room-1", "房间", "a b", "🎥", "x" * 256, "a/b?c=%20", "ﬁ", "a\u0301", "❤\ufe0f"]
)
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
        "房\x85间",
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


@pytest.mark.parametrize(
    "invisible",
    ["\u200b", "\u200c", "\u200d", "\u200e", "\u202e", "\u2060", "\u2066", "\ufeff", "\u00ad", "\u061c", "\U000e0001",
     "\U000e0041", "\U0001d173", "\ufff9"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["{}room-1", "room{}-1", "room-1{}", "房{}间", "{}"])
def test_an_invisible_character_in_a_name_is_rejected_and_the_rule_is_named(name: str, invisible: str) -> None:
    rejection = rejected(stream_end(name.format(invisible)))
    assert (rejection.reason, rejection.stream_name) == ("invalid_field", None)
    assert "Unicode category Cf" in rejection.detail
    assert f"U+{ord(invisible):04X}" in rejection.detail
    assert rejection.detail.isprintable()


def test_every_character_that_unicode_calls_a_format_character_is_invisible() -> None:
    found = {chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}
    assert len(found) > 100
    accepted = [char for char in found if not isinstance(read(stream_end(f"a{char}b")), Rejection)]
    assert accepted == []


@pytest.mark.parametrize("field", ["domain_name", "app_name", "DomainName", "AppName"])
@pytest.mark.parametrize("message", [stream_end(), retention_expiry(), CREATED])
def test_a_domain_and_an_app_are_allowed_and_checked_wherever_a_stream_is_named(
    message: dict[str, object], field: str
) -> None:
    assert read({**message, field: "live"}).model_dump()[field.replace("N", "_n").lower()] == "live"
    for bad in (None, 7, "", "li\u200bve", " live"):
        assert rejected({**message, field: bad}).detail.startswith(field.replace("N", "_n").lower())


# -- spellings ---------------------------------------------------------------------------------


def test_the_apis_own_spellings_are_understood() -> None:
    event = read(
        {
            **without(CREATED, "stream_name", "task_id"),
            "StreamName": STREAM,
            "TaskId": TASK,
            "DomainName": "d",
            "AppName": "a",
        }
    )
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


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "true"), ("true", "1"), ("1", "1.0"), ("0", "false"), ("[1]", "[true]"), ('{"a": 1}', '{"a": 1.0}'),
     ('[{"a": [0]}]', '[{"a": [false]}]'), ('"1"', "1")],
)  # fmt: skip
def test_values_that_only_python_takes_for_equal_are_two(one: str, other: str) -> None:
    twice = '{"type": "stream-end", "stream_name": "a", "task_id": 7, "note": %s, "note": %s}'
    assert rejected(twice % (one, other)).reason == "conflicting_fields"
    assert read(twice % (one, one)).task_id == 7
    # While objects are equal in any order.
    assert read('{"type": "sweep", "a": {"x": 1, "y": 2}, "a": {"y": 2, "x": 1}}').type == "sweep"


@pytest.mark.parametrize(
    "more",
    [
        {"EndTime": str(int(NOW) + 3600)},
        {"StartTime": "2026-11-22 17:00:00", "start_time": "2026-11-22T09:00:00Z", "EndTime": NOW + 3600},
        {"EndTime": "2026-11-22T11:00:00Z"},
        {"EndTime": "2026-11-22+19%3a00%3a00"},
    ],
)
def test_two_spellings_agree_if_they_mean_the_same(more: dict[str, object]) -> None:
    for message in (CREATED, without(CREATED, "end_time" if "EndTime" in more else "start_time")):
        event = read({**message, **more})
        assert event.end_time == NOW + 3600
        assert "StartTime" not in more or event.start_time == NOW - 3600


@pytest.mark.parametrize(
    "more",
    [
        {"StartTime": "2026-11-22 17:00:01", "start_time": "2026-11-22T09:00:00Z"},
        {"EndTime": NOW + 3601},
        {"EndTime": "2026-11-22T11:00:00+08:00"},
        {"EndTime": None},
        {"EndTime": "soon"},
        {"TaskId": "1002"},
        {"TaskId": "all"},
    ],
)
def test_two_spellings_conflict_if_they_mean_different_things(more: dict[str, object]) -> None:
    rejection = rejected({**CREATED, **more})
    assert rejection.reason == "conflicting_fields"
    assert next(iter(more)) in rejection.detail


@pytest.mark.parametrize(("alias", "name"), list(messages.ALIASES.items()))
def test_what_is_wrong_with_an_alias_is_said_in_both_spellings(alias: str, name: str) -> None:
    assert rejected({**without(CREATED, name), alias: []}).detail.startswith(f"{name} (sent as {alias}): an array: ")


def test_unknown_fields_are_ignored() -> None:
    assert read(stream_end(extra={"a": [1]}, StreamId="x")).task_id == TASK


# -- fields that nearly are ours ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "wrong", "ours"),
    [
        # in other capitals, or with other separators
        (stream_end("a", "all", ended_at=NOW), "TaskID", "task_id"),
        (stream_end(), "taskid", "task_id"),
        (stream_end(), "task-id", "task_id"),
        (stream_end(), " task_id", "task_id"),
        (stream_end(), "TASK_ID", "task_id"),
        (stream_end(), "taskId", "task_id"),
        (stream_end(), "EndedAt", "ended_at"),
        (stream_end(), "streamName", "stream_name"),
        (retention_expiry(), "ExpiresAt", "expires_at"),
        (retention_expiry(), "Domain-Name", "domain_name"),
        (CREATED, "endTime", "end_time"),
        (CREATED, "ENDTIME", "end_time"),
        (CREATED, "start time", "start_time"),
        (CREATED, "highlight", "Highlight"),
        (CREATED, "HighLight", "Highlight"),
        # one letter more, less, another, or two swapped
        (stream_end(), "task_ids", "task_id"),
        (stream_end(), "ended_a", "ended_at"),
        (stream_end(), "ended_att", "ended_at"),
        (stream_end(), "ended_ar", "ended_at"),
        (stream_end(), "edned_at", "ended_at"),
        (stream_end(), "tsak_id", "task_id"),
        (stream_end(), "task\u200b_id", "task_id"),
        (retention_expiry(), "stream_nane", "stream_name"),
        (CREATED, "end_tiem", "end_time"),
        (CREATED, "app_names", "app_name"),
        (CREATED, "Highlights", "Highlight"),
        # words of a retention
        (retention_expiry(), "expire_at", "expires_at"),
        (retention_expiry(), "expiry", "expires_at"),
        (retention_expiry(), "retention_days", "expires_at"),
        (stream_end(), "expires_at", "expires_at"),
        (stream_end(), "RetentionUntil", "expires_at"),
        (stream_end(), "retain-for", "expires_at"),
        (stream_end(), "keep_until", "expires_at"),
        (CREATED, "ttl", "expires_at"),
        (CREATED, "TTL_seconds", "expires_at"),
        (CREATED, "record_ttl", "expires_at"),
    ],
)
def test_a_field_that_nearly_is_ours_is_rejected_and_both_are_named(
    message: dict[str, object], wrong: str, ours: str
) -> None:
    """Also beside the right one: it may be what the producer meant."""
    for value in (NOW + 3600, None):
        rejection = rejected({**message, wrong: value})
        assert (rejection.reason, rejection.event) == ("unknown_field", message["type"])
        assert rejection.stream_name == message["stream_name"]
        assert wrong.replace("\u200b", "\\u200b") in rejection.detail
        assert ours in rejection.detail.partition(": ")[2]


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (
            stream_end(),
            ["battle_id", "settlement", "throttle", "shuttle_bus", "title", "started", "end_time", "EndTime"],
        ),
        (
            stream_end(),
            ["start_time", "id", "task", "taskey", "stream", "streamid", "StreamId", "event", "kind", "types"],
        ),
        (
            stream_end(),
            ["xtask_id", "askt_id", "domain", "app", "appid", "name", "ended", "", "_", "事件", "event_type"],
        ),
        (retention_expiry(), ["battle_id", "settlement", "start_time", "ended_at", "Highlight", "reason"]),
        (CREATED, ["ended_at", "endpoint", "endings", "startup", "highlighting", "domains"]),
    ],
)
def test_any_other_unknown_field_is_ignored(message: dict[str, object], fields: list[str]) -> None:
    for field in fields:
        assert read({**message, field: 0}).task_id == TASK, field
    assert rejected({**message, **dict.fromkeys(fields, 0), "ttl": 0}).detail.startswith('"ttl": ')


def test_a_forwarded_request_to_create_a_recording_is_understood_with_its_answer() -> None:
    request = {
        "StreamName": STREAM, "AppName": "live", "DomainName": "push.example.com", "StartTime": "2026-11-22 18:00:00",
        "EndTime": "2026-11-22 20:00:00", "RecordType": "video", "FileFormat": "mp4", "Highlight": 0, "MixStream": 0,
        "StreamParam": "record_interval=5400&storage_time=30", "TaskId": TASK, "RequestId": "r-1",
    }  # fmt: skip
    event = read({"type": "task-created", **request})
    assert (event.stream_name, event.task_id, event.start_time, event.end_time) == (STREAM, TASK, NOW, NOW + 7200)
    assert (event.domain_name, event.app_name, event.assumes_end) == ("push.example.com", "live", False)


def test_sweeps_and_callbacks_may_bring_any_field() -> None:
    assert read({"type": "sweep", "TaskID": 7, "expire_at": 1, "ttl": None}).type == "sweep"
    assert read(push_callback(0, event_time=NOW, streamName="x", taskid=7, expires=1)).type == "callback"
    assert read({"event_type": 100, "StreamName": "x", "ttl": 7}).type == "callback"
    assert rejected(stream_end(TaskID=7, expire_at=1, ttl=None)).reason == "unknown_field"


def test_many_unknown_fields_neither_take_long_nor_make_a_long_detail() -> None:
    detail = rejected(stream_end(**{f"expires_at_{number}": 1 for number in range(20_000)})).detail
    assert len(detail) < 500
    assert rejected(stream_end(**{"x" * 100_000 + "until": 1})).reason == "unknown_field"


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
        ("2026-11-22T18:00+08:00", NOW),
        ("2026-11-22T10:00Z", NOW),
        ("2026-11-22T18:00+0800", NOW),
        ("2026-11-22T18:00:00+0800", NOW),
        ("2026-11-22T18:00:00.25+0800", NOW + 0.25),
        ("2026-11-22T04:30:00-0530", NOW),
        ("2026-11-22T15:45+05:45", NOW),
        ("2026-11-23T09:59+23:59", NOW),
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
    [None, True, [], "", "soon", "2026-11-22", "2026-11-22T10Z", "2026-13-22T10:00:00Z", "2026-11-31T10:00:00Z",
     "2026-11-22T24:00:00Z", "2026-11-22T10:00:00+25:00", "2026-11-22T10:00:00+24:00",
     "2026-11-22T10:00:00+08:60", "2026-11-22T10:00:00-05:99", "2026-11-22T10:00+0860", "2026-11-22T10:00:00+08",
     "2026-11-22T10:00:00+08:00:00", "2026-11-22T10:00:00+8:00", "2026-11-22T10:00.5Z", "2026-11-22T10:00:00,5Z",
     "20261122T100000Z", "2026-W47-7T10:00:00Z", "2026-11-22T10:60:00Z", "2026-11-22T10:00:60Z", "2026-11-22T24:00Z",
     "0000-01-01T00:00:00Z",
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


@pytest.mark.parametrize(
    "text",
    ["2026-11-22 19:00:00", "2026-11-22+19:00:00", "2026-11-22+19%3a00%3a00", "2026-11-22+19%3A00%3A00",
     "2026-11-22%2019%3A00%3a00", "2026-11-22%2019:00:00", "2026-11-22T11:00:00Z", "2026-11-22 19:00:00+08:00",
     "2026-11-22 11:00Z", NOW + 3600, str(int(NOW) + 3600)],
)  # fmt: skip
def test_the_apis_own_times_are_china_time_in_the_apis_own_spelling(text: object) -> None:
    plain = without(CREATED, "end_time")
    assert read({**plain, "EndTime": text}).end_time == NOW + 3600
    assert read({**CREATED, "StartTime": text, "end_time": NOW + 7200}).start_time == NOW + 3600
    if isinstance(text, str) and not text.endswith(("Z", "+08:00")) and not text.isdecimal():
        for message in ({**plain, "end_time": text}, stream_end(ended_at=text), retention_expiry(expires_at=text)):
            assert rejected(message).reason == "invalid_field"


@pytest.mark.parametrize(
    "text",
    ["2026-11-22T19:00:00", "2026-11-22T19%3a00%3a00", "2026-11-22  19:00:00", "2026-11-22 19:00", "2026-11-22",
     "2026-11-31 19:00:00", "2026-11-22 24:00:00", "2026-11-22 19:00:00.5", "2026-11-22%2B19%3a00%3a00",
     " 2026-11-22 19:00:00", "2026-11-22 19:00:00\n", "\uff12026-11-22 19:00:00", "2028-11-22 19:00:00", None, ""],
)  # fmt: skip
def test_any_other_form_of_the_apis_times_is_rejected_and_shown_as_sent(text: object) -> None:
    rejection = rejected({**without(CREATED, "end_time"), "EndTime": text})
    assert rejection.reason == "invalid_field"
    assert rejection.detail.startswith("end_time (sent as EndTime): ")
    assert "T19:00:00+08:00" not in rejection.detail


@pytest.mark.parametrize("field", ["start_time", "end_time", "expires_at", "domain_name", "app_name"])
def test_null_is_no_value_for_an_optional_field(field: str) -> None:
    assert read({**CREATED}).task_id == TASK
    assert rejected({**CREATED, field: None}).detail.startswith(f"{field}: null: ")


# -- types -------------------------------------------------------------------------------------


def test_a_stream_end_names_a_task_or_says_all() -> None:
    for spelling in ("task_id", "TaskId"):
        event = read({"type": "stream-end", "stream_name": "a", spelling: "all", "ended_at": NOW})
        assert (event.task_id, stream_of(event), task_of(event)) == ("all", "a", None)
    assert task_of(read(stream_end("a", "7"))) == ("a", 7)


@pytest.mark.parametrize("more", [{}, {"ended_at": NOW}, {"domain_name": "d", "ended_at": NOW}])
def test_a_stream_end_that_names_no_task_is_rejected_with_the_way_out(more: dict[str, object]) -> None:
    rejection = rejected({**without(stream_end(), "task_id"), **more})
    assert (rejection.reason, rejection.event, rejection.stream_name) == ("missing_field", "stream-end", STREAM)
    assert rejection.detail.startswith("task_id: missing: ")
    assert '"all"' in rejection.detail


@pytest.mark.parametrize("more", [{}, {"app_name": "live"}, {"end_time": NOW, "time": NOW}])
def test_the_end_of_all_tasks_has_a_moment(more: dict[str, object]) -> None:
    rejection = rejected(stream_end(task_id="all", **more))
    assert (rejection.reason, rejection.stream_name) == ("missing_field", STREAM)
    assert rejection.detail.startswith("ended_at: missing: ")
    assert rejected(stream_end(task_id="all", ended_at=None)).reason == "invalid_field"


@pytest.mark.parametrize("task_id", ["ALL", "All", " all", "all\n", "*", "any", "", None, [], ["all"], {"all": 1}])
def test_only_the_word_all_means_all(task_id: object) -> None:
    assert rejected(stream_end(task_id=task_id, ended_at=NOW)).reason == "invalid_field"
    assert read(stream_end(task_id="all", ended_at=NOW)).task_id == "all"


@pytest.mark.parametrize("message", [retention_expiry(task_id="all"), {**CREATED, "task_id": "all"}])
def test_all_tasks_are_named_by_a_stream_end_only(message: dict[str, object]) -> None:
    assert "only a stream-end" in rejected(message).detail


def test_a_retention_expiry_says_when() -> None:
    rejection = rejected(without(retention_expiry(), "expires_at"))
    assert (rejection.reason, rejection.stream_name) == ("missing_field", STREAM)
    assert rejection.detail.startswith("expires_at: missing: ")
    assert "now" in rejection.detail
    assert rejected(retention_expiry(expires_at=None)).reason == "invalid_field"
    assert read(retention_expiry(expires_at=NOW)).expires_at == NOW


@pytest.mark.parametrize(
    ("more", "accepted"),
    [
        ({}, False),
        ({"start_time": NOW}, False),
        ({"Highlight": 0}, False),
        ({"Highlight": "0", "StartTime": "2026-11-22 18:00:00"}, False),
        ({"end_time": NOW + 1}, True),
        ({"EndTime": NOW + 1}, True),
        ({"expires_at": NOW + 1}, True),
        ({"Highlight": 1}, True),
    ],
)
def test_a_task_that_is_created_has_an_end(more: dict[str, object], *, accepted: bool) -> None:
    message = {**without(CREATED, "end_time"), **more}
    if accepted:
        assert read(message).task_id == TASK
        return
    rejection = rejected(message)
    assert (rejection.reason, rejection.stream_name) == ("missing_field", STREAM)
    for way_out in ("end_time", "expires_at", "Highlight: 1"):
        assert way_out in rejection.detail


@pytest.mark.parametrize("field", ["stream_name", "task_id"])
@pytest.mark.parametrize("event", [retention_expiry(), CREATED])
def test_required_fields_are_named_when_missing(event: dict[str, object], field: str) -> None:
    rejection = rejected(without(event, field))
    assert (rejection.reason, rejection.detail) == ("missing_field", f"{field}: missing")


# -- Highlight ---------------------------------------------------------------------------------

HIGHLIGHT = {**without(CREATED, "end_time"), "Highlight": 1}


@pytest.mark.parametrize("one", [1, "1"])
def test_a_highlight_starts_now_and_ends_in_half_an_hour(one: object) -> None:
    event = read({**HIGHLIGHT, "Highlight": one})
    assert (event.start_time, event.end_time, event.assumes_end) == (None, NOW + 30 * MINUTE, True)


@pytest.mark.parametrize("minutes", [0.5, 29, 30])
@pytest.mark.parametrize("field", ["end_time", "EndTime"])
def test_an_end_within_half_an_hour_is_a_highlights_own(field: str, minutes: float) -> None:
    event = read({**HIGHLIGHT, field: NOW + minutes * MINUTE})
    assert (event.end_time, event.assumes_end) == (NOW + minutes * MINUTE, False)


@pytest.mark.parametrize("end", [NOW - 3600, NOW, NOW + 30 * MINUTE + 1, "2026-11-22 20:00:00"])
def test_any_other_end_of_a_highlight_is_half_an_hour_away(end: object) -> None:
    event = read({**HIGHLIGHT, "EndTime": end})
    assert (event.end_time, event.assumes_end) == (NOW + 30 * MINUTE, True)


@pytest.mark.parametrize("start", [NOW - 7200, NOW + 7200, "soon", None, "2026-11-22 18:00:00", []])
@pytest.mark.parametrize("more", [{}, {"EndTime": NOW + MINUTE}, {"start_time": NOW + 86_400}])
def test_the_start_of_a_highlight_is_not_read(more: dict[str, object], start: object) -> None:
    for message in ({"start_time": start, **more}, {"StartTime": start, **more}):
        assert read({**HIGHLIGHT, **message}).start_time is None


def test_what_a_highlight_says_otherwise_is_read() -> None:
    assert read({**HIGHLIGHT, "expires_at": NOW + 9}).expires_at == NOW + 9
    assert rejected({**HIGHLIGHT, "EndTime": "soon"}).reason == "invalid_field"
    assert rejected({**HIGHLIGHT, "EndTime": NOW + 60, "end_time": NOW + 61}).reason == "conflicting_fields"


@pytest.mark.parametrize("zero", [0, "0"])
def test_a_highlight_of_zero_is_as_if_left_out(zero: object) -> None:
    event = read({**CREATED, "Highlight": zero, "start_time": NOW})
    assert (event.start_time, event.end_time, event.assumes_end) == (NOW, NOW + 3600, False)
    message = {**CREATED, "Highlight": zero, "start_time": NOW + 7200}
    assert rejected(message).reason == "conflicting_fields"


@pytest.mark.parametrize("value", [True, False, 1.0, 0.0, 2, -1, "", " 1", "01", "true", "\uff11", None, [], [1], {}])
def test_anything_else_is_no_highlight(value: object) -> None:
    rejection = rejected({**CREATED, "Highlight": value})
    assert rejection.reason == "invalid_field"
    assert rejection.detail.startswith("Highlight: ")


def test_every_mistake_is_told_at_once() -> None:
    detail = rejected({"type": "retention-expiry", "stream_name": " ", "task_id": 0, "expires_at": "x"}).detail
    assert detail.count("; ") == 2


def test_a_rejection_says_what_could_be_read() -> None:
    rejection = rejected(stream_end(task_id=0))
    assert (rejection.event, rejection.stream_name) == ("stream-end", STREAM)


def test_event_type_zero_is_not_taken_for_missing() -> None:
    event = read(push_callback(0, event_time=NOW, task_id=99))
    assert isinstance(event, Interruption)
    assert (event.domain_name, event.app_name, event.stream_name) == ("push.example.com", "live", STREAM)
    assert (stream_of(event), task_of(event)) == (STREAM, None)


@pytest.mark.parametrize("event_type", [1, 100, 200, 314, 315, 317, 321, 332, 341, -1])
def test_other_callbacks_need_nothing_else(event_type: int) -> None:
    assert isinstance(read({"event_type": event_type, "streamId": "x", "domain": "d"}), OtherCallback)


@pytest.mark.parametrize("kind", [["porn", "politics"], [], 7, None, {}, True])
@pytest.mark.parametrize("event_type", [317, 318, 1, 100])
def test_a_callback_may_have_a_type_of_its_own_that_is_no_text(event_type: int, kind: object) -> None:
    assert isinstance(read({"event_type": event_type, "type": kind, "streamId": "x"}), OtherCallback)


@pytest.mark.parametrize("kind", [["porn"], 7, None, {}, "porn"])
def test_an_interrupted_push_has_no_type_so_that_one_with_a_type_is_not_acted_on(kind: object) -> None:
    assert rejected(push_callback(0, event_time=NOW, type=kind)).reason == "unknown_type"
    assert read(push_callback(1, type=["porn"])).type == "callback"


def test_what_has_a_text_for_its_type_is_no_callback() -> None:
    assert read({"event_type": 317, "type": ["stream-end"]}).type == "callback"
    assert read(stream_end(event_type=317)).type == "stream-end"
    assert rejected({"type": "porn", "event_type": 317}).reason == "unknown_type"


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
    assert isinstance(read(push_callback(0, event_time=NOW, push_duration=duration, new={})), Interruption)


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
    data = {"stream_name": STREAM, "task_id": TASK, "expires_at": NOW}
    event = cloud_event(data, type="com.example.retention-expiry")
    assert read(event).type == "retention-expiry"
    assert read(json.dumps(event)).type == "retention-expiry"
    data = {"stream_name": STREAM, "task_id": TASK}
    assert read([event, cloud_event({**data, "type": "stream-end"})])[1].type == "stream-end"
    assert read(cloud_event([data, data], type="stream-end"))[1].type == "stream-end"
    assert read({"specversion": "1.0", "type": "x.sweep"}).type == "sweep"


def test_a_cloud_event_inside_a_cloud_event_is_rejected() -> None:
    assert rejected(cloud_event(cloud_event(stream_end()))).reason == "too_deep"


@pytest.mark.parametrize(
    "data",
    [
        stream_end(task_id=7),
        [stream_end(task_id=7)],
        json.dumps(stream_end(task_id=7)),
        {"stream_name": STREAM, "task_id": 7},
    ],
)
def test_the_data_of_a_cloud_event_may_be_base64(data: object) -> None:
    text = data if isinstance(data, str) else json.dumps(data)
    event = without(cloud_event(None, type="x.stream-end"), "data")
    found = read({**event, "data_base64": base64.b64encode(text.encode()).decode()})
    assert (found.type, found.task_id) == ("stream-end", 7)
    assert read({**event, "data_base64": base64.b64encode(json.dumps(text).encode()).decode()}).task_id == 7


@pytest.mark.parametrize("data", ["%%%", "e30", "e3 0=", "_-8=", "gICA", "é", 7, None, [], {}, True])
def test_base64_that_is_none_or_holds_no_text_is_rejected(data: object) -> None:
    rejection = rejected({**without(cloud_event(None, type="x.stream-end"), "data"), "data_base64": data})
    assert rejection.reason == "invalid_field"
    assert rejection.detail.startswith("data_base64: ")


def test_base64_that_holds_another_text_is_rejected_for_that() -> None:
    event = without(cloud_event(None, type="x.stream-end"), "data")
    for text, reason in (("", "empty"), ("Hello", "not_json"), ("7", "not_an_object"), ("{}", "missing_field")):
        assert rejected({**event, "data_base64": base64.b64encode(text.encode()).decode()}).reason == reason


@pytest.mark.parametrize("data", [stream_end(), None, "e30="])
def test_a_cloud_event_has_its_data_once(data: object) -> None:
    rejection = rejected({**cloud_event(data), "data_base64": "e30="})
    assert rejection.reason == "conflicting_fields"
    assert "data_base64" in rejection.detail


@pytest.mark.parametrize(
    "attribute",
    ["taskid", "streamname", "endedat", "expiresat", "starttime", "endtime", "domainname", "appname", "highlight",
     "task_id", "expires_at", "TaskId"],
)  # fmt: skip
@pytest.mark.parametrize("data", [stream_end(), retention_expiry(), CREATED])
def test_a_field_among_the_attributes_of_a_cloud_event_belongs_into_its_data(
    data: dict[str, object], attribute: str
) -> None:
    for event in (cloud_event(data), cloud_event(json.dumps(without(data, "type")), type=f"x.{data['type']}")):
        rejection = rejected({**event, attribute: "x"})
        assert (rejection.reason, rejection.event, rejection.stream_name) == ("unknown_field", data["type"], STREAM)
        assert attribute in rejection.detail
        assert "into data" in rejection.detail


def test_other_attributes_of_a_cloud_event_are_its_own() -> None:
    own = {"time": "2026-11-22T10:00:00Z", "subject": "room-2", "source": "s", "id": "9", "type": "x.stream-end"}
    for more in (
        {},
        {"taskids": 1, "expires": 1, "ttl": 1, "until": 1, "retention": 1, "TASKID": 1, "traceparent": "x"},
    ):
        assert read({**cloud_event(stream_end()), **own, **more}).task_id == TASK
        assert rejected({**cloud_event(stream_end()), **own, **more, "taskid": 7}).reason == "unknown_field"


def test_the_attributes_of_a_callbacks_or_a_sweeps_cloud_event_are_not_looked_at() -> None:
    assert read({**cloud_event(push_callback(1)), "streamname": "x"}).type == "callback"
    assert read({"specversion": "1.0", "type": "x.sweep", "taskid": 7}).type == "sweep"
    assert read({**cloud_event({"type": "other"}), "taskid": 7}).reason == "unknown_type"
    assert read({**cloud_event([{"type": "sweep"}, stream_end()]), "taskid": 7})[1].reason == "unknown_field"


def test_a_rejection_shows_the_value_shortened_and_escaped() -> None:
    detail = run(ckafka("\x1b[31m" + "x" * 100_000)).tasks[0]["detail"]
    assert len(detail) < 200
    assert "\\x1b[31mxxx" in detail
