"""The tries of one task: each test is a list of replies, and what was asked for in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from handler.core.attempt import End, Ended, Fresh, Reply, Reread, Send, Sleep, Unsent, attempt
from handler.core.entry import Check, Delete, Entry, Target, next_step
from handler.core.model import Outcome, Reason, RecordTask
from handler.core.policy import POLICIES, ErrorClass, postponement, retry_wait

TASK = RecordTask("room-1", 7)
TARGET = Target("push.example.com", "live")
NOW = 1_000.0
ASSERTED = Entry(TASK, "push.example.com", "live", delete_at=NOW)
HINTED = Entry(TASK, "push.example.com", "live", check_at=NOW, delete_at=NOW + 9_999)
OK = Reply(request_id="r")
OFF_AIR, ON_AIR = Reply(request_id="r", off_air=True), Reply(request_id="r", off_air=False)
NO_TIME = Unsent(Reason.OUT_OF_TIME, "too late")
TRANSIENT = Reply(ErrorClass.TRANSIENT, "InternalError", "no")
LOST = Reply(ErrorClass.TRANSIENT, "ClientNetworkError", "no answer", ambiguous=True)


def failing(error_class: ErrorClass) -> Reply:
    return Reply(error_class, error_class.value, "no", "r")


Answers = Sequence[Reply | Unsent | Fresh | bool]


def play(entry: Entry, *answers: Reply | Unsent | Fresh | bool, dry_run: bool = False) -> tuple[list[object], Ended]:
    """What was asked for, with Send(Delete) as "delete" and Send(Check) as "check", and how it ended."""
    step = next_step(entry, NOW)
    assert isinstance(step, Delete | Check)
    tries = attempt(step, entry, lambda: 1.0, dry_run=dry_run)
    asked: list[object] = []
    todo = iter(answers)
    try:
        request = next(tries)
        while True:
            asked.append(_short(request))
            request = tries.send(next(todo))
    except StopIteration as end:
        assert not list(todo), "more answers than requests"
        return asked, end.value


def _short(request: Send | Sleep | Reread) -> object:
    match request:
        case Send(Delete()):
            return "delete"
        case Send(Check()):
            return "check"
        case Sleep(seconds):
            return seconds
        case _:
            return "reread"


SAME = Fresh(HINTED, NOW)


def test_a_confirmed_deletion_ends_it() -> None:
    asked, ended = play(ASSERTED, OK)
    assert asked == ["delete"]
    assert ended == Ended(End.ANSWERED, ASSERTED, OK, calls=1)


@pytest.mark.parametrize("error_class", [ErrorClass.GONE, ErrorClass.BUSY, ErrorClass.BLOCKED, ErrorClass.INVALID])
def test_some_answers_are_not_worth_another_try(error_class: ErrorClass) -> None:
    assert play(ASSERTED, failing(error_class))[0] == ["delete"]


@pytest.mark.parametrize("error_class", [ErrorClass.TRANSIENT, ErrorClass.UNKNOWN])
def test_others_are_tried_three_times_with_growing_waits(error_class: ErrorClass) -> None:
    bad = failing(error_class)
    asked, ended = play(ASSERTED, bad, True, bad, True, bad)
    assert asked == ["delete", 0.25, "delete", 0.5, "delete"]
    assert (ended.how, ended.calls) == (End.ANSWERED, 3)


def test_throttled_is_tried_for_as_long_as_there_is_time() -> None:
    slow = failing(ErrorClass.THROTTLED)
    again: list[Reply | bool] = [slow, True] * 7
    asked, ended = play(ASSERTED, *again, slow, False)
    assert asked[1::2] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    assert ended.reply == slow


def test_no_time_for_the_first_request_means_untried() -> None:
    _, ended = play(ASSERTED, NO_TIME)
    assert (ended.how, ended.unsent, ended.calls) == (End.UNTRIED, NO_TIME, 0)


def test_no_time_for_another_request_leaves_the_last_answer() -> None:
    _, ended = play(ASSERTED, TRANSIENT, True, NO_TIME)
    assert (ended.how, ended.reply) == (End.ANSWERED, TRANSIENT)


def test_a_request_that_did_not_leave_is_not_counted() -> None:
    _, ended = play(ASSERTED, failing(ErrorClass.BLOCKED)._replace(sent=False))
    assert ended.calls == 0


def test_gone_after_an_answer_that_was_lost_is_ambiguous() -> None:
    _, ended = play(ASSERTED, LOST, True, failing(ErrorClass.GONE))
    assert ended.ambiguous
    _, ended = play(ASSERTED, TRANSIENT, True, failing(ErrorClass.GONE))
    assert not ended.ambiguous


# -- checks ------------------------------------------------------------------------------------


def test_off_air_is_read_again_and_deleted_at_once() -> None:
    asked, ended = play(HINTED, OFF_AIR, SAME, OK)
    assert asked == ["check", "reread", "delete"]
    assert (ended.how, ended.calls) == (End.ANSWERED, 2)


def test_on_air_ends_it() -> None:
    asked, ended = play(HINTED, ON_AIR)
    assert asked == ["check"]
    assert ended.how is End.NOT_OFF_AIR


@pytest.mark.parametrize("error_class", [c for c in POLICIES if POLICIES[c].answers_check and POLICIES[c].tries == 1])
def test_a_check_that_fails_deletes_nothing(error_class: ErrorClass) -> None:
    asked, ended = play(HINTED, failing(error_class))
    assert asked == ["check"]
    assert ended.how is End.NOT_OFF_AIR


def test_a_check_is_tried_again_like_a_deletion() -> None:
    asked, ended = play(HINTED, TRANSIENT, True, TRANSIENT, True, TRANSIENT)
    assert asked == ["check", 0.25, "check", 0.5, "check"]
    assert ended.how is End.NOT_OFF_AIR


@pytest.mark.parametrize("error_class", [c for c in POLICIES if not POLICIES[c].answers_check])
def test_a_check_that_says_nothing_of_the_stream_leaves_the_task_due(error_class: ErrorClass) -> None:
    bad = failing(error_class)
    answers = [bad] if POLICIES[error_class].tries == 1 else [bad, False]
    _, ended = play(HINTED, *answers)
    assert (ended.how, ended.reply) == (End.ANSWERED, bad)


def test_a_record_that_is_gone_after_the_check_is_not_deleted() -> None:
    asked, ended = play(HINTED, OFF_AIR, Fresh(None, NOW))
    assert asked == ["check", "reread"]
    assert ended.how is End.FORGOTTEN


@pytest.mark.parametrize(
    "changed",
    [
        HINTED._replace(check_at=NOW + 1),
        HINTED._replace(check_at=None),
        HINTED._replace(retry_at=NOW + 1),
        HINTED._replace(app_name="other"),
        HINTED._replace(domain_name=None),
    ],
)
def test_a_record_that_changed_during_the_check_is_not_deleted(changed: Entry) -> None:
    asked, ended = play(HINTED, OFF_AIR, Fresh(changed, NOW))
    assert asked == ["check", "reread"]
    assert (ended.how, ended.entry) == (End.OVERTAKEN, changed)


def test_an_assertion_that_came_during_the_check_deletes() -> None:
    asked, ended = play(HINTED, OFF_AIR, Fresh(HINTED._replace(delete_at=NOW, check_at=NOW + 9), NOW), OK)
    assert asked == ["check", "reread", "delete"]
    assert ended.entry.delete_at == NOW


def test_before_a_deletion_is_tried_again_the_stream_is_checked_again() -> None:
    asked, ended = play(HINTED, OFF_AIR, SAME, TRANSIENT, True, ON_AIR)
    assert asked == ["check", "reread", "delete", 0.5, "check"]
    assert ended.how is End.NOT_OFF_AIR


def test_a_deletion_that_failed_after_a_check_counts_even_if_there_is_no_time_for_another_check() -> None:
    _, ended = play(HINTED, OFF_AIR, SAME, TRANSIENT, True, NO_TIME)
    assert (ended.how, ended.reply) == (End.ANSWERED, TRANSIENT)


def test_no_time_after_the_check_means_untried() -> None:
    _, ended = play(HINTED, OFF_AIR, SAME, NO_TIME)
    assert (ended.how, ended.calls) == (End.UNTRIED, 1)


def test_a_dry_run_checks_and_reads_again_but_sends_no_deletion() -> None:
    assert play(ASSERTED, dry_run=True) == ([], Ended(End.PLANNED, ASSERTED))
    asked, ended = play(HINTED, OFF_AIR, SAME, dry_run=True)
    assert asked == ["check", "reread"]
    assert ended.how is End.PLANNED
    assert play(HINTED, ON_AIR, dry_run=True)[1].how is End.NOT_OFF_AIR


# -- policy ------------------------------------------------------------------------------------


def test_every_error_class_has_its_row() -> None:
    assert set(POLICIES) == set(ErrorClass), "core/policy.py: a class without a row in POLICIES, or the reverse"


def test_every_row_says_what_a_deletion_comes_to() -> None:
    for error_class, policy in POLICIES.items():
        assert policy.outcome in (Outcome.ALREADY_GONE, Outcome.DEFERRED, Outcome.FAILED), error_class


@pytest.mark.parametrize(("tried", "bound"), [(1, 0.25), (2, 0.5), (5, 4.0), (5_000, 4.0)])
def test_waits_are_full_jitter_below_a_doubling_bound(tried: int, bound: float) -> None:
    assert retry_wait(tried, 1.0) == bound
    assert retry_wait(tried, 0.0) == 0.0


@pytest.mark.parametrize(("attempts", "wait"), [(1, 60.0), (2, 120.0), (7, 3_600.0), (10_000, 3_600.0)])
def test_postponements_double_up_to_an_hour(attempts: int, wait: float) -> None:
    assert postponement(60.0, attempts) == wait
