"""What is written down of a task, and reported, by how its tries ended."""

from __future__ import annotations

import pytest

from handler.core.attempt import End, Ended, Reply, Unsent
from handler.core.entry import Entry
from handler.core.model import Outcome, Reason, RecordTask, TaskResult
from handler.core.policy import POLICIES, ErrorClass
from handler.core.settle import (
    PLANNED_AGAIN_SECONDS,
    DeadLetter,
    Effect,
    Forget,
    Leave,
    Rules,
    Save,
    settle,
    settle_refused,
    settle_without_check,
)

TASK = RecordTask("room-1", 7)
NOW, WEEK = 1e9, 604_800.0
RULES = Rules(end_margin=600.0, grace=1_800.0, give_up_after=WEEK)
ENTRY = Entry(TASK, "push.example.com", "live", delete_at=NOW - 10, created_at=NOW - 99)
HINTED = ENTRY._replace(delete_at=None, check_at=NOW - 10)
BOTH = HINTED._replace(delete_at=NOW + 99_999)


def failing(error_class: ErrorClass) -> Reply:
    return Reply(error_class, "Code", "no", "r")


def ends(entry: Entry, how: End, reply: Reply | None = None, **more: object) -> tuple[Effect, TaskResult]:
    return settle(Ended(how, entry, reply, calls=1, **more), NOW, RULES)  # type: ignore[arg-type]


def said(result: TaskResult) -> tuple[Outcome, Reason | None]:
    return result.outcome, result.reason


def test_a_deleted_task_is_forgotten() -> None:
    effect, result = ends(ENTRY, End.ANSWERED, Reply(request_id="r"))
    assert isinstance(effect, Forget)
    assert effect.task == TASK
    assert said(result) == (Outcome.DELETED, None)


@pytest.mark.parametrize(("ambiguous", "reason"), [(False, Reason.NOT_FOUND), (True, Reason.AFTER_RETRY)])
def test_a_task_that_is_gone_is_forgotten(ambiguous: bool, reason: Reason) -> None:
    effect, result = ends(ENTRY, End.ANSWERED, failing(ErrorClass.GONE), ambiguous=ambiguous)
    assert isinstance(effect, Forget)
    assert said(result) == (Outcome.ALREADY_GONE, reason)


def test_what_the_api_refuses_for_good_is_a_dead_letter_with_the_error() -> None:
    effect, result = ends(ENTRY, End.ANSWERED, failing(ErrorClass.INVALID))
    assert isinstance(effect, DeadLetter)
    assert [failure.code for failure in effect.entry.failures] == ["Code"]
    assert said(result) == (Outcome.FAILED, Reason.INVALID)


@pytest.mark.parametrize("error_class", [c for c in POLICIES if POLICIES[c].postpone])
def test_what_is_tried_again_waits_longer_each_time(error_class: ErrorClass) -> None:
    first = POLICIES[error_class].postpone or 0.0
    entry = ENTRY
    for tries in range(8):
        effect, result = ends(entry, End.ANSWERED, failing(error_class))
        assert isinstance(effect, Save)
        assert effect.entry.retry_at == NOW + min(3_600.0, first * 2**tries)
        assert effect.entry.delete_at == ENTRY.delete_at
        assert result.outcome is Outcome.DEFERRED
        entry = effect.entry


@pytest.mark.parametrize("error_class", [ErrorClass.THROTTLED, ErrorClass.BLOCKED])
def test_what_is_no_fault_of_the_task_changes_nothing(error_class: ErrorClass) -> None:
    effect, result = ends(ENTRY, End.ANSWERED, failing(error_class))
    assert isinstance(effect, Save)
    assert effect.entry == ENTRY
    assert said(result) == (Outcome.DEFERRED, POLICIES[error_class].reason)


@pytest.mark.parametrize(("since", "given_up"), [(WEEK - 1, False), (WEEK, True), (9 * WEEK, True)])
def test_a_task_is_given_up_after_a_week_of_failures(since: float, given_up: bool) -> None:
    entry = ENTRY.failed("Other", "no", NOW - since)
    effect, result = ends(entry, End.ANSWERED, failing(ErrorClass.BUSY))
    assert isinstance(effect, DeadLetter if given_up else Save)
    assert (result.reason is Reason.GAVE_UP) is given_up


def test_untried_says_why() -> None:
    effect, result = ends(ENTRY, End.UNTRIED, unsent=Unsent(Reason.BLOCKED, "stopped"))
    assert isinstance(effect, Save)
    assert effect.entry == ENTRY
    assert (*said(result), result.detail) == (Outcome.DEFERRED, Reason.BLOCKED, "stopped")
    assert said(ends(ENTRY, End.UNTRIED)[1]) == (Outcome.DEFERRED, Reason.OUT_OF_TIME)


def test_a_dry_run_comes_again_in_an_hour_and_counts_no_failure() -> None:
    effect, result = ends(ENTRY, End.PLANNED)
    assert isinstance(effect, Save)
    assert effect.entry == ENTRY._replace(retry_at=NOW + PLANNED_AGAIN_SECONDS)
    assert said(result) == (Outcome.PLANNED, Reason.DRY_RUN)


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (End.OVERTAKEN, (Outcome.SCHEDULED, None)),
        (End.FORGOTTEN, (Outcome.IGNORED, Reason.NO_KNOWN_TASK)),
    ],
)
def test_what_another_invocation_wrote_is_left_alone(how: End, line: tuple[Outcome, Reason | None]) -> None:
    effect, result = ends(HINTED, how)
    assert isinstance(effect, Leave)
    assert said(result) == line


# -- after a check -----------------------------------------------------------------------------


def test_on_air_the_task_is_kept_until_its_assertion_and_the_check_is_remembered() -> None:
    effect, result = ends(BOTH.failed("A", "no", 1.0), End.NOT_OFF_AIR, Reply(request_id="r"))
    assert isinstance(effect, Save)
    assert effect.entry == BOTH._replace(check_at=None, checked_at=NOW)
    assert said(result) == (Outcome.SCHEDULED, Reason.STREAM_IS_LIVE)


def test_on_air_without_an_assertion_it_is_checked_again_after_another_grace_period() -> None:
    effect, _ = ends(HINTED, End.NOT_OFF_AIR, Reply(request_id="r"))
    assert isinstance(effect, Save)
    assert effect.entry == HINTED._replace(check_at=NOW + RULES.grace, checked_at=NOW)


@pytest.mark.parametrize("entry", [BOTH, HINTED])
def test_a_check_that_fails_is_made_again_and_counted(entry: Entry) -> None:
    effect, result = ends(entry, End.NOT_OFF_AIR, failing(ErrorClass.TRANSIENT))
    assert isinstance(effect, Save)
    assert effect.entry.check_at == NOW + RULES.grace
    assert effect.entry.attempts == 1
    assert said(result) == (Outcome.SCHEDULED, Reason.STREAM_IS_LIVE)


def test_checks_that_failed_for_a_week_drop_the_hint_where_there_is_an_assertion() -> None:
    effect, result = ends(BOTH.failed("A", "no", NOW - WEEK), End.NOT_OFF_AIR, failing(ErrorClass.TRANSIENT))
    assert isinstance(effect, Save)
    assert effect.entry == BOTH._replace(check_at=None, checked_at=NOW)
    assert said(result) == (Outcome.SCHEDULED, Reason.STREAM_IS_LIVE)


def test_checks_that_failed_for_a_week_are_a_dead_letter_where_there_is_none() -> None:
    effect, result = ends(HINTED.failed("A", "no", NOW - WEEK), End.NOT_OFF_AIR, failing(ErrorClass.TRANSIENT))
    assert isinstance(effect, DeadLetter)
    assert said(result) == (Outcome.FAILED, Reason.GAVE_UP)


def test_a_task_that_cannot_be_checked_waits_for_its_assertion_or_is_a_dead_letter() -> None:
    effect, result = settle_without_check(BOTH, NOW)
    assert isinstance(effect, Save)
    assert effect.entry == BOTH._replace(check_at=None, checked_at=NOW)
    assert said(result) == (Outcome.SCHEDULED, None)
    effect, result = settle_without_check(HINTED, NOW)
    assert isinstance(effect, DeadLetter)
    assert said(result) == (Outcome.FAILED, Reason.GAVE_UP)


def test_what_cannot_be_stored_is_a_dead_letter_that_says_what_it_was() -> None:
    deferred = TaskResult(Outcome.DEFERRED, Reason.BUSY, "still recording", "Code")
    effect, result = settle_refused(ENTRY, deferred, ValueError("HTTP 400"), NOW)
    assert isinstance(effect, DeadLetter)
    assert said(result) == (Outcome.FAILED, Reason.LEDGER_REFUSED)
    assert result.detail
    assert "HTTP 400" in result.detail
    assert "still recording" in result.detail
    assert "deferred" in str(settle_refused(ENTRY, TaskResult(Outcome.DEFERRED), ValueError(), NOW).result.detail)


@pytest.mark.parametrize("known", [True, False])
def test_an_id_that_may_have_been_rounded_says_so_where_it_is_not_found(known: bool) -> None:
    entry = ENTRY._replace(cause={"large_number": True} if known else {"message_id": "m"})
    for detail in ("no such task", None):
        _, result = ends(entry, End.ANSWERED, failing(ErrorClass.GONE)._replace(detail=detail))
        assert ("send it as a string" in str(result.detail)) is known
