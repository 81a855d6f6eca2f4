"""The lines: flat, small, complete, and dropped only where the platform would drop them blindly."""

from __future__ import annotations

import json

import pytest

from handler.core.model import Outcome
from local.live_api import Fault, LiveStandIn
from tests.support import STREAM, TASK, Run, ckafka, run, stream_end, timer

TASK_KEYS = [
    "metric", "request_id", "message_id", "event", "stream_name", "task_id", "outcome", "reason", "detail",
    "error_code", "error_class", "calls", "latency_ms", "live_request_id",
    "traceback",
]  # fmt: skip
INVOCATION_KEYS = [
    "metric", "request_id", "source", "cold_start", "dry_run", "ledger", "messages", "lines", "deleted", "already_gone",
    "scheduled", "deferred", "failed", "rejected", "ignored", "planned", "api_calls", "throttled_calls",
    "task_lines_dropped", "duration_ms", "latency_ms_p50", "latency_ms_p95", "latency_ms_max", "lag_s_p95",
    "oldest_overdue_s", "unreadable", "error",
]  # fmt: skip


def hold(done: Run) -> None:
    """What must be true of every invocation's output."""
    for text in done.stdout.splitlines(keepends=True):
        assert text.startswith("{")
        assert text.endswith("}\n")
        assert len(text.encode()) <= 8192
        assert not any(isinstance(value, (dict, list)) for value in json.loads(text).values())
    assert [line["metric"] for line in done.lines].count("reaper_invocation") == 1
    invocation = done.invocation
    assert list(invocation) == INVOCATION_KEYS
    assert sum(invocation[outcome.value] for outcome in Outcome) == invocation["lines"]
    for line in done.tasks:
        assert [key for key in TASK_KEYS if key in line] == list(line)
        assert None not in line.values()


def test_the_lines_say_what_the_contract_says(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    api.misbehave(Fault(delay=0.05))
    done = run(ckafka(stream_end(ended_at=1_795_341_600), "x"), {"request_id": "r-1"})
    hold(done)
    line = done.tasks[0]
    assert (line["request_id"], line["message_id"], line["event"]) == ("r-1", "ckafka:t:1:0", "stream-end")
    assert line["task_id"] == str(TASK)
    assert 50 <= line["latency_ms"] < 1000
    invocation = done.invocation
    assert (invocation["messages"], invocation["lines"], invocation["deleted"], invocation["rejected"]) == (2, 2, 1, 1)
    assert 50 <= invocation["latency_ms_p50"] == invocation["latency_ms_max"] <= invocation["duration_ms"]
    assert invocation["lag_s_p95"] > 0
    assert (invocation["cold_start"], invocation["dry_run"], invocation["ledger"]) == (True, False, False)
    assert invocation["error"] is invocation["oldest_overdue_s"] is None


@pytest.mark.parametrize("event", [timer(), "", None, {}, ckafka("x")])
def test_an_invocation_without_calls_has_no_latency(event: object) -> None:
    done = run(event)
    hold(done)
    assert done.invocation["latency_ms_p50"] is done.invocation["lag_s_p95"] is None


@pytest.mark.parametrize("filler", ["x", "\x00", "é", "🎥", "\ud800", '"', "\\"])
def test_a_line_stays_under_8_kb_whatever_comes_in(api: LiveStandIn, filler: str) -> None:
    name = (filler * 256) if filler.isprintable() else "ok"
    api.misbehave(Fault(error="InvalidParameter." + "x" * 9000))
    context = {"request_id": filler * 9000}
    record = {"topic": filler * 9000, "partition": filler * 9000, "offset": filler * 9000}
    event = {"Records": [{"Ckafka": {**record, "msgBody": json.dumps(stream_end(name))}}]}
    hold(run(event, context))
    hold(run({"Records": [{"Ckafka": {**record, "msgBody": filler * 90_000}}]}, context))
    hold(run({filler * 9000: filler * 9000}, context))
    hold(run(stream_end(filler * 9000, filler * 9000, type=filler * 9000), context))


def test_a_large_invocation_keeps_its_problems_and_counts_what_it_drops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REAPER_DRY_RUN", "true")
    bodies: list[object] = [stream_end(task_id=task_id) for task_id in range(1, 5001)]
    bodies[4000:4000] = ["garbage"] * 100
    done = run(ckafka(*bodies))
    hold(done)
    assert len(done.tasks) == 3000
    assert sum(line["outcome"] == "rejected" for line in done.tasks) == 100
    assert done.invocation["task_lines_dropped"] == 2100
    assert (done.invocation["lines"], done.invocation["planned"]) == (5100, 5000)
    offsets = [int(line["message_id"].rpartition(":")[2]) for line in done.tasks]
    assert offsets == sorted(offsets)


def test_long_lines_are_held_to_the_platforms_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_DRY_RUN", "true")
    name = "🎥" * 250
    done = run(ckafka(*(stream_end(name, task_id) for task_id in range(1, 1001))))
    hold(done)
    assert len(done.stdout) <= 910_000
    assert len(done.tasks) + done.invocation["task_lines_dropped"] == 1000


def test_problems_only(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_LOG_TASKS", "problems")
    api.state.add(STREAM, 1)
    api.misbehave(Fault(error="InvalidParameter"), task_id=2)
    api.misbehave(Fault(error="FailedOperation.AlterTaskState"), task_id=3)
    done = run([*(stream_end(task_id=task_id) for task_id in (1, 2, 3, 4)), "x", {"type": "sweep"}])
    hold(done)
    assert {line["outcome"] for line in done.tasks} == {"failed", "deferred", "rejected"}
    assert (done.invocation["lines"], done.invocation["task_lines_dropped"]) == (6, 0)


def test_each_line_is_written_with_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []

    class Stdout:
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

        def flush(self) -> None: ...

    monkeypatch.setattr("sys.stdout", Stdout())
    from handler.app import build

    build()(ckafka("a", "b"), {})
    assert len(writes) == 3
    assert all(text.count("\n") == 1 and text.endswith("\n") for text in writes)
