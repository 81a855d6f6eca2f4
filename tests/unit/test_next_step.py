"""The law: an assertion deletes, a hint only leads to a check, and only a check lets a hint delete."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path

import pytest

from handler.core.entry import NEVER, Check, Delete, Entry, Target, Wait, Why, next_step, same_domain
from handler.core.model import RecordTask

TASK = RecordTask("room-1", 7)
TARGET = Target("push.example.com", "live")
NOW = 1_000.0
PAST, FUTURE = NOW - 1, NOW + 1


def entry(**fields: object) -> Entry:
    return Entry(TASK, "push.example.com", "live")._replace(**fields)  # type: ignore[arg-type]


def test_an_assertion_that_is_due_deletes() -> None:
    assert next_step(entry(delete_at=NOW), NOW) == Delete(TASK)


def test_an_assertion_deletes_whatever_a_hint_says() -> None:
    for check_at in (None, PAST, FUTURE):
        assert next_step(entry(delete_at=PAST, check_at=check_at), NOW) == Delete(TASK)


def test_not_one_moment_too_early() -> None:
    assert next_step(entry(delete_at=NOW + 1e-6), NOW) == Wait(NOW + 1e-6, Why.NOT_DUE)


def test_a_hint_that_is_due_leads_to_a_check() -> None:
    assert next_step(entry(check_at=NOW), NOW) == Check(TASK, TARGET)
    assert next_step(entry(check_at=PAST, delete_at=FUTURE), NOW) == Check(TASK, TARGET)


def test_a_hint_deletes_only_once_its_own_target_was_found_off_air() -> None:
    hinted = entry(check_at=PAST, delete_at=FUTURE)
    assert next_step(hinted, NOW, off_air=TARGET) == Delete(TASK)
    assert next_step(hinted, NOW, off_air=Target("push.example.com", "other")) == Check(TASK, TARGET)


def test_off_air_hastens_nothing_that_is_not_due() -> None:
    assert isinstance(next_step(entry(check_at=FUTURE, delete_at=FUTURE), NOW, off_air=TARGET), Wait)


@pytest.mark.parametrize("domain", [None, ""])
def test_what_cannot_be_checked_waits_for_its_assertion(domain: str | None) -> None:
    assert next_step(entry(domain_name=domain, check_at=PAST, delete_at=FUTURE), NOW) == Wait(FUTURE, Why.CANNOT_CHECK)
    assert next_step(entry(domain_name=domain, check_at=PAST), NOW) == Wait(NEVER, Why.CANNOT_CHECK)


def test_a_task_without_an_app_is_checked_under_the_apis_default() -> None:
    assert next_step(entry(app_name=None, check_at=PAST), NOW) == Check(TASK, TARGET)


def test_after_a_failure_it_waits_for_its_turn() -> None:
    assert next_step(entry(delete_at=PAST, retry_at=FUTURE), NOW) == Wait(FUTURE, Why.AFTER_FAILURE)
    assert next_step(entry(delete_at=PAST, retry_at=NOW), NOW) == Delete(TASK)


def test_without_any_time_it_waits_for_ever() -> None:
    assert next_step(entry(), NOW) == Wait(NEVER, Why.NO_TIME)


def test_no_combination_of_times_deletes_without_an_assertion_or_a_check() -> None:
    times = (None, PAST, NOW, FUTURE)
    for delete_at, check_at, retry_at, domain in product(times, times, times, ("push.example.com", None)):
        step = next_step(entry(delete_at=delete_at, check_at=check_at, retry_at=retry_at, domain_name=domain), NOW)
        if isinstance(step, Delete):
            assert delete_at is not None
            assert delete_at <= NOW


def test_only_the_law_constructs_a_deletion() -> None:
    """Nowhere else in the project is a ``Delete`` made; so nothing can be deleted past ``next_step``."""
    handler = Path(__file__).parents[2] / "handler"
    makes_one = {
        path.relative_to(handler).as_posix()
        for path in handler.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Delete"
    }
    assert makes_one == {"core/entry.py"}


# -- what is known -----------------------------------------------------------------------------


def test_the_earliest_assertion_wins_and_names_its_cause() -> None:
    first = entry().asserted(FUTURE, {"message_id": "a"})
    assert first.asserted(FUTURE + 1, {"message_id": "b"}) is first
    assert first.asserted(FUTURE, {"message_id": "b"}) is first
    assert first.asserted(PAST, {"message_id": "c"}).cause == {"message_id": "c"}
    assert first.asserted(PAST, None).cause == {"message_id": "a"}


def test_the_latest_hint_wins() -> None:
    first = entry().hinted(NOW, {"message_id": "a"})
    assert first.hinted(PAST, None) is first
    assert first.hinted(NOW, None) is first
    assert first.hinted(FUTURE, None) == first._replace(check_at=FUTURE)


def test_equal_failures_are_counted_together() -> None:
    failed = entry().failed("A", "one", 1.0).failed("B", "two", 2.0).failed("A", "three", 3.0)
    assert [(failure.code, failure.times, failure.detail) for failure in failed.failures] == [
        ("A", 2, "three"), ("B", 1, "two"),
    ]  # fmt: skip
    assert (failed.attempts, failed.failing_since) == (3, 1.0)
    assert entry().failing_since is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("a.example", "A.Example.", True), ("a.example", "b.example", False), ("a.example.", "a.example", True)],
)
def test_domains_are_compared_as_dns_does(one: str, other: str, same: bool) -> None:
    assert same_domain(one, other) is same
