"""``python -m local ledger``, on the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.live_api import Fault
from tests.support import STREAM, TASK, ckafka, retention_expiry, stream_end
from tests.test_ledger import DAY, HOUR, World, bucket, world

__all__ = ["bucket", "world"]
ROOT = Path(__file__).parent.parent
Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tool(world: World) -> Tool:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local", "ledger", *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return call


def test_looking_shows_what_is_there(world: World, tool: Tool) -> None:
    world.does(ckafka(world.created(), retention_expiry(task_id=2, expires_at=world.clock.now + DAY)))
    world.does(ckafka("garbage"))
    world.clock.now += 5
    status = json.loads(tool("status", "--json").stdout)
    assert (status["tasks"], status["no_due_time"], status["dead_messages"], status["dead_tasks"]) == (2, 1, 1, 0)
    assert "no due time" in tool("status").stdout
    assert json.loads(tool("show", STREAM, str(TASK)).stdout)["task"] == {"stream_name": STREAM, "task_id": TASK}
    assert tool("show", "nobody").returncode == 1
    exported = tool("export").stdout.splitlines()
    assert exported[0] == "stream_name,task_id,due"
    assert f"{STREAM},{TASK}," in exported
    assert "must be JSON" in tool("dead").stdout


def test_a_dead_task_is_requeued_and_deleted(world: World, tool: Tool) -> None:
    world.api.misbehave(Fault(error="InvalidParameter"))
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(stream_end()))
    [key] = world.cos.keys("dead/")
    world.clock.now += 5
    assert "1 × InvalidParameter" in tool("dead").stdout
    assert "would have requeued" in tool("requeue", key, "--dry-run").stdout
    assert world.cos.keys("dead/") == [key]
    assert tool("requeue", "dead/x").returncode == 1
    assert tool("requeue").returncode == 1
    assert f"requeued {STREAM} {TASK}" in tool("requeue", "--all").stdout
    assert world.cos.keys("dead/") == []
    assert world.sweep_after(400 * DAY).outcomes == [("deleted", None)]


def test_dropping_is_for_good(world: World, tool: Tool) -> None:
    world.does(ckafka("garbage"))
    [key] = world.cos.keys("dead/")
    world.clock.now += 5
    assert "mend it" in tool("requeue", key).stderr
    assert tool("drop", key, "--dry-run").returncode == 0
    assert world.cos.keys("dead/") == [key]
    assert "dropped" in tool("drop", key).stdout
    assert world.cos.keys() == []


def test_old_ids_are_imported_once_and_bad_rows_are_told_by_line(world: World, tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_text(f"stream_name,task_id,due\n{STREAM},1,2026-12-01T00:00:00Z\nroom,x,soon\n{STREAM},2,1796000000\n")
    first = tool("import", str(file))
    assert (first.returncode, f"{file}:3: " in first.stderr) == (1, True)
    assert "imported 2 tasks; 0 were known already; 1 rows are bad" in first.stdout
    again = tool("import", str(file))
    assert "imported 0 tasks; 2 were known already" in again.stdout
    assert len(world.cos.keys("tasks/")) == len(world.cos.keys("due/")) == 2
    file.write_text("a,b\n1,2\n")
    assert "the first line must name" in tool("import", str(file)).stderr


def test_reindexing_gives_every_task_its_pointer_again(world: World, tool: Tool) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(retention_expiry(expires_at=world.clock.now + HOUR)))
    world.clock.now += 5
    for key in world.cos.keys("due/"):
        world.cos.remove(key)
    assert "would have given 1" in tool("reindex", "--dry-run").stdout
    assert world.cos.keys("due/") == []
    tool("reindex")
    assert world.sweep_after(2 * HOUR).outcomes == [("deleted", None)]


def test_without_a_ledger_the_tool_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    monkeypatch.delenv("REAPER_LEDGER")
    done = tool("status")
    assert done.returncode == 1
    assert "REAPER_LEDGER is not set" in done.stderr
    assert "Traceback" not in done.stderr
