"""What events change about one task, and what is said of those that concern none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from handler.core.entry import Check, Delete, Entry, Wait, next_step
from handler.core.events import Event
from handler.core.model import Outcome, Reason, RecordTask, Rejection
from handler.core.plan import (
    Elsewhere,
    Moment,
    Received,
    TaskPlan,
    answer_with_ledger,
    answer_without_ledger,
    is_for_stream,
    none_known,
    plan_task,
    scheduled,
    stream_of,
    task_of,
    was_rounded,
)
from handler.core.settle import Rules
from handler.intake import messages

NOW = 1_795_341_600.0
HOUR, DAY = 3_600.0, 86_400.0
RULES = Rules(end_margin=600.0, grace=1_800.0, give_up_after=604_800.0)
TASK = RecordTask("room-1", 7)
KNOWN = Entry(TASK, "push.example.com", "live", started_at=NOW - HOUR, delete_at=NOW + DAY, created_at=NOW - HOUR)


def event(**fields: object) -> Event:
    [found] = messages.read({"stream_name": "room-1", **fields}, NOW)
    assert not isinstance(found, Rejection), found
    return found


def end(task_id: object = 7, **fields: object) -> Event:
    return event(type="stream-end", task_id=task_id, **fields)


def retention(at: float, **fields: object) -> Event:
    return event(type="retention-expiry", task_id=7, expires_at=at, **fields)


def created(**fields: object) -> Event:
    return event(type="task-created", task_id=7, **fields)


def interruption(at: float = NOW, app: str = "push.example.com", appname: str = "live") -> Event:
    [found] = messages.read(
        {"event_type": 0, "app": app, "appname": appname, "stream_id": "room-1", "event_time": at}, NOW
    )
    assert not isinstance(found, Rejection)
    return found


def plan(known: Entry | None, *events: Event, trusted: bool = True) -> TaskPlan:
    received = [Received(number, number, f"m{number}", item, trusted) for number, item in enumerate(events)]
    return plan_task(TASK, known, received, Moment(NOW, RULES))


def entry_of(known: Entry | None, *events: Event, trusted: bool = True) -> Entry:
    entry = plan(known, *events, trusted=trusted).entry
    assert entry is not None
    return entry


# -- assertions --------------------------------------------------------------------------------


def test_an_end_without_a_time_is_due_now() -> None:
    assert isinstance(next_step(entry_of(None, end()), NOW), Delete)


@pytest.mark.parametrize(("ahead", "due_now"), [(-DAY, True), (0, True), (300, True), (301, False), (DAY, False)])
def test_an_end_is_due_at_its_time_and_five_minutes_are_forgiven(ahead: float, due_now: bool) -> None:
    step = next_step(entry_of(None, end(ended_at=NOW + ahead)), NOW)
    assert isinstance(step, Delete if due_now else Wait)


@pytest.mark.parametrize(("ahead", "due_now"), [(-1, True), (0, True), (1, False)])
def test_a_retention_is_never_early_by_a_second(ahead: float, due_now: bool) -> None:
    assert isinstance(next_step(entry_of(KNOWN, retention(NOW + ahead)), NOW), Delete if due_now else Wait)


def test_what_is_wanted_now_does_not_wait_for_an_earlier_failure() -> None:
    assert entry_of(KNOWN._replace(retry_at=NOW + 99), end()).retry_at is None
    assert entry_of(KNOWN._replace(retry_at=NOW + 99), retention(NOW + 9)).retry_at == NOW + 99


def test_a_future_assertion_gives_an_unknown_task_no_start() -> None:
    assert entry_of(None, retention(NOW + DAY)).started_at is None
    assert entry_of(None, retention(NOW + DAY)).created_at == NOW


def test_what_names_another_task_changes_nothing() -> None:
    assert plan(KNOWN, end(8)) == TaskPlan(KNOWN, [], [], False)


# -- all tasks of a stream ---------------------------------------------------------------------


def test_an_end_of_all_reaches_what_had_started() -> None:
    assert entry_of(KNOWN, end("all", ended_at=NOW)).delete_at == NOW
    assert plan(KNOWN._replace(started_at=NOW + 1), end("all", ended_at=NOW + DAY)).elsewhere == [(0, Elsewhere(None))]
    assert plan(KNOWN._replace(started_at=None), end("all", ended_at=NOW)).elsewhere == [(0, Elsewhere(None))]
    assert plan(None, end("all", ended_at=NOW)).entry is None


@pytest.mark.parametrize(
    ("narrowed", "place"),
    [
        ({}, "meant"),
        ({"domain_name": "PUSH.example.com."}, "meant"),
        ({"app_name": "live"}, "meant"),
        ({"domain_name": "other.example.com"}, "push.example.com/live"),
        ({"app_name": "show"}, "push.example.com/live"),
    ],
)
def test_an_end_of_all_is_narrowed(narrowed: dict[str, str], place: str) -> None:
    found = plan(KNOWN, end("all", ended_at=NOW, **narrowed))
    assert found.elsewhere == ([] if place == "meant" else [(0, Elsewhere(place))])


def test_a_task_without_a_domain_is_under_none_that_is_named() -> None:
    found = plan(KNOWN._replace(domain_name=None), end("all", ended_at=NOW, domain_name="push.example.com"))
    assert found.elsewhere == [(0, Elsewhere("no domain"))]


# -- registrations -----------------------------------------------------------------------------


def test_a_registration_is_due_a_margin_after_its_end_or_at_its_expiry() -> None:
    assert entry_of(None, created(end_time=NOW + HOUR)).delete_at == NOW + HOUR + 600
    assert entry_of(None, created(end_time=NOW + HOUR, expires_at=NOW + DAY)).delete_at == NOW + DAY


def test_a_registration_without_a_start_starts_when_it_arrives() -> None:
    assert entry_of(None, created(end_time=NOW + HOUR)).started_at == NOW
    assert entry_of(KNOWN, created(end_time=NOW + HOUR)).started_at == KNOWN.started_at
    assert entry_of(KNOWN, created(start_time=NOW - 5, end_time=NOW + HOUR)).started_at == NOW - 5


def test_a_registration_keeps_what_it_does_not_say() -> None:
    assert entry_of(KNOWN, created(end_time=NOW + HOUR)).target == KNOWN.target
    assert entry_of(KNOWN, created(end_time=NOW + HOUR, app_name="show")).app_name == "show"


def test_a_registration_without_any_end_is_remembered_without_a_time() -> None:
    without = created(end_time=NOW + HOUR).model_copy(update={"end_time": None})
    assert entry_of(None, without).delete_at is None


# -- hints -------------------------------------------------------------------------------------


def test_a_hint_is_checked_after_the_grace_period() -> None:
    hinted = entry_of(KNOWN, interruption(NOW - 60))
    assert hinted.check_at == NOW - 60 + RULES.grace
    assert isinstance(next_step(hinted, NOW + HOUR), Check)


def test_a_hint_from_the_future_counts_as_now() -> None:
    assert entry_of(KNOWN, interruption(NOW + DAY)).check_at == NOW + RULES.grace
    assert plan(KNOWN._replace(started_at=NOW + HOUR), interruption(NOW + DAY)).elsewhere == [(0, Elsewhere(None))]


def test_an_untrusted_hint_is_never_older_than_a_quarter_of_an_hour() -> None:
    assert entry_of(KNOWN, interruption(NOW - HOUR), trusted=False).check_at == NOW - 900 + RULES.grace
    began = KNOWN._replace(started_at=NOW - 60)
    assert plan(began, interruption(NOW - HOUR), trusted=False).elsewhere == [(0, Elsewhere(None))]


def test_a_hint_of_another_place_or_of_an_unknown_task_changes_nothing() -> None:
    assert plan(KNOWN, interruption(appname="show")).elsewhere == [(0, Elsewhere("push.example.com/live"))]
    assert plan(None, interruption()) == TaskPlan(None, [], [], False)


def test_other_callbacks_sweeps_and_rejections_change_nothing() -> None:
    [other] = messages.read({"event_type": 1}, NOW)
    [sweep] = messages.read({"type": "sweep"}, NOW)
    rejected = Rejection(Reason.EMPTY, "nothing")
    assert plan(KNOWN, other, sweep, rejected) == TaskPlan(KNOWN, [], [], False)  # type: ignore[arg-type]


# -- order -------------------------------------------------------------------------------------


def test_events_are_applied_in_their_order() -> None:
    """The end of all says nothing of a task that is registered after it."""
    assert plan(None, end("all", ended_at=NOW), created(end_time=NOW + DAY, start_time=NOW - 9)).touched[0].number == 1
    assert isinstance(
        next_step(entry_of(None, created(end_time=NOW + DAY, start_time=NOW - 9), end("all", ended_at=NOW)), NOW),
        Delete,
    )


def test_whether_anything_may_act_is_said_by_what_concerns_the_task() -> None:
    assert plan(KNOWN, end()).trusted
    assert not plan(KNOWN, interruption(), trusted=False).trusted


# -- lines -------------------------------------------------------------------------------------


def test_a_waiting_task_says_when_it_is_due() -> None:
    assert scheduled(KNOWN, None).detail == "due at 2026-11-23T10:00:00Z"
    assert scheduled(KNOWN._replace(delete_at=None), None).detail == "its due time is not yet known"


@pytest.mark.parametrize(("stated", "reason"), [(None, None), (0, None), (-1, None), (1, Reason.EARLIER_TIME_KEPT)])
def test_a_time_that_is_later_than_the_one_that_counts_says_so(stated: float | None, reason: Reason | None) -> None:
    at = None if stated is None else NOW + DAY + stated
    assert scheduled(KNOWN, at).reason is reason


def test_the_time_of_a_recording_in_real_time_is_not_stated() -> None:
    found = plan(None, created(Highlight=1))
    assert found.touched[0].stated_at is None
    assert plan(None, created(expires_at=NOW + DAY, Highlight=1)).touched[0].stated_at == NOW + DAY


@pytest.mark.parametrize(
    ("elsewhere", "part"),
    [
        ([], "no task of this stream"),
        ([Elsewhere(None)], "started"),
        ([Elsewhere("a/live"), Elsewhere(None)], "started"),
        ([Elsewhere("a/live")], "under a/live, none under any domain/any app"),
        ([Elsewhere(f"{name}/live") for name in "dcba"], "a/live, b/live, c/live …"),
    ],
)
def test_an_event_that_means_no_task_says_what_there_is(elsewhere: Sequence[Elsewhere], part: str) -> None:
    result = none_known(end("all", ended_at=NOW), elsewhere)
    assert (result.outcome, result.reason) == (Outcome.IGNORED, Reason.NO_KNOWN_TASK)
    assert part in str(result.detail)


def test_with_a_ledger_only_other_callbacks_have_their_answer_at_once() -> None:
    [other] = messages.read({"event_type": 332}, NOW)
    assert not isinstance(other, Rejection)
    answer = answer_with_ledger(other, NOW)
    assert answer is not None
    assert answer.reason is Reason.NOT_AN_INTERRUPTION
    assert answer_with_ledger(end(), NOW) is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (end(), None),
        (end(ended_at=NOW + 300), None),
        (end(ended_at=NOW + 301), Reason.NOT_DUE_YET),
        (end("all", ended_at=NOW), Reason.NO_TASK_ID),
        (retention(NOW), None),
        (retention(NOW + 1), Reason.NOT_DUE_YET),
        (created(end_time=NOW + HOUR), Reason.NO_LEDGER),
        (interruption(), Reason.NO_LEDGER),
    ],
)
def test_without_a_ledger_only_an_id_that_is_due_leads_anywhere(item: Event, reason: Reason | None) -> None:
    answer = answer_without_ledger(item, NOW)
    assert (answer.reason if answer else None) is reason


def test_what_an_event_names() -> None:
    assert (task_of(end()), stream_of(end()), is_for_stream(end())) == (TASK, "room-1", False)
    everything = end("all", ended_at=NOW)
    assert (task_of(everything), is_for_stream(everything)) == (None, True)
    assert is_for_stream(interruption())
    assert Received(0, 0, "m", Rejection(Reason.EMPTY, "")).cause == {}


def test_what_is_kept_of_an_event_names_its_message_in_short() -> None:
    cause = Received(0, 0, "x" * 999, end()).cause
    assert cause == {"message_id": "x" * 256, "type": "stream-end", "stream_name": "room-1", "task_id": 7}


@pytest.mark.parametrize(("task_id", "rounded"), [(2**53 + 2, True), (2**53, False), (str(2**53 + 2), False)])
def test_a_large_number_may_have_been_rounded(task_id: object, rounded: bool) -> None:
    assert was_rounded(end(task_id)) is rounded
    assert Received(0, 0, "m", end(task_id)).cause.get("large_number", False) is rounded
