"""The sample events, played in the order of their names: what each must come to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest

from handler.app import RedeliveryNeeded, build
from handler.core.model import Rejection
from local import samples, schema
from local.live_api import LiveStandIn
from tests.support import run

DELETED, GONE, DUPLICATE = "deleted", "already_gone: not_found", "deleted: duplicate"

EXPECTED = {
    "ckafka_css_push_interrupted.json": ["ignored: no_ledger"],
    "ckafka_mixed_batch.json": [
        DELETED,
        "rejected: not_json",
        "rejected: invalid_field",
        DUPLICATE,
        "rejected: unknown_type",
        DELETED,
        DELETED,
    ],
    "ckafka_stream_end.json": [DELETED, DELETED, DELETED],
    "ckafka_stream_end_redelivered.json": [GONE, GONE, GONE],
    "ckafka_stream_end_still_recording.json": ["deferred: busy", "raised"],
    "ckafka_task_created.json": ["ignored: no_ledger"],
    "cmq_stream_end.json": [DELETED],
    "dead_letter_stream_end.json": [DELETED],
    "direct_id_of_other_api_family.json": ["rejected: invalid_field"],
    "direct_naive_time.json": ["rejected: invalid_field"],
    "direct_stream_end.json": [DELETED],
    "direct_stream_end_misspelt_task_id.json": ["rejected: unknown_field"],
    "direct_stream_end_without_task_id.json": ["ignored: no_task_id"],
    "eventbridge_batch.json": [DELETED, DELETED],
    "eventbridge_ckafka_stream_end.json": [DELETED],
    "eventbridge_custom_retention_expiry.json": [DELETED],
    "http_css_push_interrupted.json": ["rejected: forbidden"],
    "timer_retention_expiry.json": [DELETED, DELETED],
    "timer_retention_expiry_not_due_yet.json": ["rejected: not_due_yet"],
    "timer_sweep.json": ["ignored: no_ledger"],
    "unknown_cos_upload.json": ["rejected: unknown_envelope"],
}


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, list[str]]]:
    """Every sample, one after the other, in one world."""

    def clock() -> float:
        return samples.MOMENT

    with LiveStandIn(clock=clock) as stand_in, pytest.MonkeyPatch.context() as patch:
        for name, value in {**stand_in.environment, "REAPER_DRY_RUN": "false"}.items():
            patch.setenv(name, value)
        all_samples = samples.all_samples()
        samples.record(
            stand_in.state, [task for sample in all_samples for task in samples.tasks_named(sample.event, clock())]
        )
        handler, came_to = build(clock=clock), {}
        for sample in all_samples:
            done = run(sample.event, None, handler)
            came_to[sample.name] = [f"{outcome}: {why}" if why else outcome for outcome, why in done.outcomes]
            if done.raised:
                assert isinstance(done.raised, RedeliveryNeeded)
                came_to[sample.name].append("raised")
        yield came_to


def test_every_sample_is_known() -> None:
    assert {sample.name for sample in samples.all_samples()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_sample_comes_to_what_it_must(played: dict[str, list[str]], name: str) -> None:
    assert played[name] == EXPECTED[name]


def test_each_sample_describes_itself_in_one_line() -> None:
    for sample in samples.all_samples():
        text = samples.in_one_line(sample.event, samples.MOMENT)
        assert "\n" not in text
        assert ": " in text


# -- the schema --------------------------------------------------------------------------------


def test_the_published_schema_is_current() -> None:
    assert json.loads(samples.SCHEMA.read_text()) == schema.schema(), "run `make schema`"


def test_the_schema_is_a_schema_and_takes_arrays() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    validator = jsonschema.Draft202012Validator(schema.schema())
    assert validator.is_valid([{"type": "sweep"}, {"type": "stream-end", "stream_name": "a", "task_id": 1}])
    assert not validator.is_valid([])
    assert not validator.is_valid([{"type": "sweep"}, 7])


@pytest.mark.parametrize(
    "message",
    [
        {"type": "retention-expiry", "stream_name": "a", "task_id": 1, "expires_at": "2026-11-22 18:00:00"},
        {"type": "stream-end", "stream_name": "a", "task_id": 1},
        {"type": "stream-end", "StreamName": "a", "TaskId": "1"},
        {"type": "stream-end", "stream_name": "房间", "task_id": "all", "ended_at": 1795341600},
        {"type": "stream-end", "stream_name": "a", "TaskId": "all", "ended_at": 1795341600, "domain_name": "d"},
        {"type": "stream-end", "stream_name": "a", "task_id": "all"},
        {"type": "stream-end", "stream_name": "a", "TaskId": "all"},
        {"type": "stream-end", "stream_name": "a", "task_id": "All", "ended_at": 1795341600},
        {"type": "stream-end", "stream_name": "a", "ended_at": 1795341600},
        {"type": "stream-end", "stream_name": "a", "task_id": 1, "app_name": None},
        {"type": "stream-end", "stream_name": "a\u200bb", "task_id": 1},
        {"type": "stream-end", "stream_name": "房\U000e0041", "task_id": 1},
        {"type": "retention-expiry", "stream_name": "a", "task_id": 1},
        {"type": "retention-expiry", "stream_name": "a", "task_id": "all", "expires_at": 1795341600},
        {"type": "retention-expiry", "stream_name": "a", "task_id": 1, "expires_at": "2026-11-22T18:00+0800"},
        {"type": "retention-expiry", "stream_name": "a", "task_id": 1, "expires_at": "2026-11-22T18:00:00+08:60"},
        {"type": "task-created", "stream_name": "a", "task_id": 1},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "expires_at": 1795341600},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "Highlight": "1"},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "Highlight": 0},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "Highlight": 0, "EndTime": 1795341600},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "Highlight": 2, "EndTime": 1795341600},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "EndTime": "2026-11-22 18:00:00"},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "EndTime": "2026-11-22+18%3a00%3A00"},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "EndTime": "2026-11-22T18:00:00"},
        {"type": "task-created", "stream_name": "a", "task_id": 1, "end_time": "2026-11-22 18:00:00"},
        {"event_type": 317, "type": ["porn"]},
        {"event_type": 317, "type": "porn"},
        {"event_type": 0, "type": ["porn"], "app": "d", "appname": "live", "stream_id": "a", "event_time": 1795341600},
        {"type": "retention-expiry", "stream_name": "a b", "task_id": 1, "expires_at": "2026-11-22T10:00:00Z"},
        {"type": "task-created", "stream_name": "a", "task_id": 2**63 - 1, "DomainName": "d", "end_time": 1795341600},
        {"type": "sweep", "anything": {}},
        {"event_type": 0, "app": "d", "appname": "live", "stream_id": "a", "event_time": 1795341600},
        {"event_type": 100},
        {"type": "stream-end", "stream_name": "a"},
        {"type": "stream-end", "stream_name": " a", "task_id": 1},
        {"type": "stream-end", "stream_name": "a\u0085b", "task_id": 1},
        {"type": "stream-end", "stream_name": "", "task_id": 1},
        {"type": "stream-end", "stream_name": "a", "task_id": 0},
        {"type": "stream-end", "stream_name": "a", "task_id": 2**63},
        {"type": "stream-end", "stream_name": "a", "task_id": "01"},
        {"type": "stream-end", "stream_name": "a", "task_id": None},
        {"type": "retention-expiry", "stream_name": "a"},
        {"type": "retention-expiry", "stream_name": "a", "task_id": 1, "expires_at": True},
        {"type": "retention-expiry", "stream_name": "a", "task_id": 1, "expires_at": "soon"},
        {"type": "unknown"},
        {"event_type": 0, "app": "d"},
        {"event_type": "0"},
        {},
    ],
)
def test_schema_and_models_agree(message: dict[str, object]) -> None:
    [found] = samples.events_of([message], samples.MOMENT)
    validator = jsonschema.Draft202012Validator(schema.schema())
    assert validator.is_valid(message) is not isinstance(found, Rejection)
