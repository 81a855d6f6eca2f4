"""The small words of the core."""

from __future__ import annotations

import json

import pytest

from handler import telemetry
from handler.core import ports
from handler.core.model import Outcome, Reason, Rejection, TaskResult, content_digest, instant
from handler.core.storage import EntryUnreadable, LedgerError
from handler.intake import callbacks, triggers
from local.console import STYLES


def nested(depth: int, leaf: object = 1) -> object:
    value = leaf
    for _ in range(depth):
        value = [value] if depth % 2 else {"a": value}
    return value


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, True), ([1], [[1]]), ({"a": 1}, {"a": 2}), (None, "null")])
def test_a_digest_names_a_value_by_its_content(one: object, other: object) -> None:
    assert content_digest(one) != content_digest(other)
    assert content_digest(json.loads(json.dumps(one))) == content_digest(one)


@pytest.mark.parametrize("depth", [50_000, 50_001])
def test_a_digest_looks_into_what_is_nested_as_deep_as_can_be(depth: int) -> None:
    assert content_digest(nested(depth)) == content_digest(nested(depth))
    assert content_digest(nested(depth)) != content_digest(nested(depth, 2))


def test_some_lines_are_written_even_if_only_problems_are() -> None:
    assert TaskResult(Outcome.FAILED).is_problem
    assert TaskResult(Outcome.SCHEDULED, Reason.EARLIER_TIME_KEPT).is_problem
    assert not TaskResult(Outcome.SCHEDULED).is_problem


def test_a_rejection_becomes_a_line() -> None:
    assert Rejection(Reason.EMPTY, "nothing").result() == TaskResult(Outcome.REJECTED, Reason.EMPTY, "nothing")


def test_a_moment_is_shown_as_people_read_it() -> None:
    assert instant(1_795_341_600.0) == "2026-11-22T10:00:00Z"


def test_the_tools_need_all_that_a_ledger_has_and_more() -> None:
    assert {name for name in dir(ports.Ledger) if not name.startswith("_")} < set(dir(ports.LedgerAdmin))


def test_what_cannot_be_read_is_an_error_of_the_ledger() -> None:
    assert issubclass(EntryUnreadable, LedgerError)


# -- what a new member must not be forgotten in --------------------------------------------------


def test_every_outcome_is_counted_and_has_its_colour() -> None:
    assert {outcome.value for outcome in Outcome} <= set(telemetry.FIELDS), (
        "telemetry.Invocation: an outcome is not counted"
    )
    assert set(STYLES) == set(Outcome), "local/console.py: an outcome has no colour in STYLES"


def test_every_outcome_has_a_status_over_http() -> None:
    for outcome in Outcome:
        assert callbacks.status_for([outcome])[0] in (200, 400, 503), "intake/callbacks.py: status_for"


def test_every_source_is_trusted_or_known_not_to_be() -> None:
    untrusted = {source for source in triggers.Source if not source.is_trusted}
    assert untrusted == {triggers.Source.HTTP}, "intake/triggers.py: say in TRUSTED_SOURCES whether the new one is"
