"""No event, however damaged, makes the handler do anything that the contract does not say."""

from __future__ import annotations

import copy
import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.app import Handler, RedeliveryNeeded, build
from handler.core.events import RetentionExpiry
from handler.core.model import Rejection
from handler.core.plan import stream_of, task_of
from handler.intake import messages, spelling
from handler.settings import SettingsError
from local import samples
from local.live_api import LiveStandIn
from tests.support import (
    ckafka,
    cloud_event,
    cmq,
    dead_letter,
    push_callback,
    retention_expiry,
    run,
    stream_end,
    timer,
)
from tests.test_telemetry import hold

IDS = range(1, 6)
WORDS = [
    "type", "stream-end", "retention-expiry", "task-created", "sweep", "stream_name", "StreamName", "task_id", "TaskId",
    "ended_at", "expires_at", "event_type", "Records", "Ckafka", "CMQ", "msgBody", "EventList", "specversion", "data",
    "all", "Highlight", "EndTime", "data_base64", "TaskID",
    "Type", "Timer", "Message", "Body", "ClientContext", "room-1", "httpMethod", "body",
]  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([*IDS, 2**63, 0, -1]),
    st.floats(allow_nan=True),
    st.sampled_from(WORDS),
    st.text(max_size=20),
    st.sampled_from(["\ud800", "\x00", "🎥", "x" * 300]),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), inner, max_size=5),
        inner.map(lambda value: json.dumps(value)),
    ),
    max_leaves=12,
)

well_formed = st.sampled_from(
    [
        *(sample.event for sample in samples.all_samples()),
        *(
            envelope(body)
            for envelope in (ckafka, timer, cmq, cloud_event, dead_letter, lambda body: body)
            for body in (
                stream_end("room-1", 1),
                retention_expiry(task_id=2),
                push_callback(),
                [stream_end("room-1", 3)],
            )
        ),
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A real envelope in which some places were changed: a value replaced, a key removed, a text cut."""
    event = copy.deepcopy(draw(well_formed))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 4))):
        event = _damage(event, chance, draw)
    return event


def _damage(value: Any, chance: random.Random, draw: st.DrawFn) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            del value[key]
        else:
            value[key] = _damage(value[key], chance, draw)
        return value
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        value[place] = _damage(value[place], chance, draw)
        return value
    if isinstance(value, str) and value.startswith(("{", "[")) and chance.random() < 0.8:
        try:
            return json.dumps(_damage(json.loads(value), chance, draw))
        except ValueError:
            return value[: chance.randrange(len(value))]
    return draw(json_values)


@pytest.fixture(scope="module")
def handler() -> Handler:
    return build()


def named(event: Any) -> set[tuple[str, int]]:
    """Every task that the text of an event could possibly mean: a looser reading than the handler's."""
    text = json.dumps(event)
    for _ in range(8):
        text = text.replace('\\"', '"').replace("\\\\", "\\")
    return {(name, task) for name, task in _candidates() if str(task) in text and name in text}


def _candidates() -> list[tuple[str, int]]:
    found = [(task.stream_name, task.task_id) for sample in samples.all_samples() for task in _tasks(sample.event)]
    return [*found, *(("room-1", task) for task in IDS)]


def _tasks(event: Any) -> list[Any]:
    return samples.tasks_named(event, time.time())


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(event=st.one_of(json_values, damaged()))
def test_no_event_breaks_the_contract(api: LiveStandIn, handler: Handler, event: Any) -> None:
    api.reset()
    for stream_name, task_id in _candidates():
        api.state.add(stream_name, task_id)
    before = set(api.state.recordings)
    done = run(event, {}, handler)
    assert done.raised is None or isinstance(done.raised, (RedeliveryNeeded, SettingsError))
    assert "internal error" not in str(done.raised)
    hold(done)
    deleted = before - set(api.state.recordings)
    told = {int(line["task_id"]) for line in done.tasks if line["outcome"] == "deleted"}
    assert deleted == told
    assert deleted <= {task for _, task in named(event)}
    assert len(api.calls) == done.invocation["api_calls"]


@settings(max_examples=300, deadline=None)
@given(body=json_values)
def test_reading_a_body_never_raises_and_always_says_something(body: Any) -> None:
    found = list(messages.read(body, time.time()))
    assert found
    for event in found:
        if not isinstance(event, Rejection):
            stream_name, task = stream_of(event), task_of(event)
            assert stream_name is None or stream_name == stream_name.strip()
            assert task is None or (task.stream_name == stream_name and 1 <= task.task_id < 2**63)


@settings(max_examples=200, deadline=None)
@given(seconds=st.floats(1_420_070_400, 1_795_341_600))
def test_a_time_means_the_same_in_every_notation(seconds: float) -> None:
    from datetime import datetime, timedelta, timezone

    china = datetime.fromtimestamp(round(seconds, 6), timezone(timedelta(hours=8))).isoformat()
    [event] = messages.read(retention_expiry(expires_at=china), 1_795_341_600.0)
    assert isinstance(event, RetentionExpiry)
    assert event.expires_at == pytest.approx(seconds, abs=1e-5)


FIELDS = frozenset({"type", "stream_name", "task_id", "ended_at", "domain_name", "app_name"})


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[str, str]:
    """A field of ours, and a word that a few random edits make of it."""
    field = draw(st.sampled_from(sorted(FIELDS)))
    letters = list(spelling.squashed(field))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(letters)))
        edit = draw(st.sampled_from(["insert", "delete", "replace", "swap"]))
        letter = draw(st.sampled_from("aeistnmx2"))
        if edit == "swap":
            letters[place : place + 2] = letters[place : place + 2][::-1]
        else:
            letters[place : place + (edit != "insert")] = [] if edit == "delete" else [letter]
    return field, "".join(letters)


def within_one_edit(word: str, field: str) -> bool:
    """The rule, as slow and plain as it is written."""
    letters = sorted(set(word + field))
    edits = {word}
    for place in range(len(word) + 1):
        head, tail = word[:place], word[place:]
        edits |= {head + letter + tail for letter in letters} | {head + tail[1:], head + tail[1::-1] + tail[2:]}
        edits |= {head + letter + tail[1:] for letter in letters if tail}
    return field in edits


@settings(max_examples=400, deadline=None)
@given(misspelt())
def test_what_nearly_spells_a_field_is_what_one_edit_makes_of_it(made: tuple[str, str]) -> None:
    _, word = made
    fields = {spelling.squashed(field) for field in FIELDS}
    near = {
        field
        for field in fields
        if word == field or (min(len(word), len(field)) >= 6 and word[0] == field[0] and within_one_edit(word, field))
    }
    expected = bool(near) or word.startswith("ttl") or word.endswith("ttl")
    assert (spelling.meant(word, FIELDS) is not None) == expected
    [found] = messages.read(stream_end("a", 7, **{word.upper(): 0}), 1_795_341_600.0)
    assert isinstance(found, Rejection) == expected
