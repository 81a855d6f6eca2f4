"""``python -m local ledger``, on the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.live_api import Fault, Stream
from tests.support import STREAM, TASK, ckafka, retention_expiry, stream_end
from tests.test_ledger import DAY, HOUR, SWEEP, World, bucket, world

__all__ = ["bucket", "world"]
ROOT = Path(__file__).parent.parent
# Each call is a process of its own: that listings may lag is tried where that costs less.
pytestmark = pytest.mark.parametrize("world", [0.0], ids=[""], indirect=True)
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
    world.does(ckafka(world.created()))
    world.without_end()
    world.does(ckafka(retention_expiry(task_id=2, expires_at=world.clock.now + DAY), first_offset=1))
    world.does(ckafka("garbage"))
    world.clock.now += 5
    status = json.loads(tool("status", "--json").stdout)
    assert (status["tasks"], status["no_due_time"], status["dead_messages"], status["dead_tasks"]) == (2, 1, 1, 0)
    assert "no due time" in tool("status").stdout
    [shown] = json.loads(tool("show", STREAM, str(TASK)).stdout)
    assert (shown["stream_name"], shown["task_id"], shown["due_at"]) == (STREAM, str(TASK), None)
    assert shown["started_at"] == "2026-11-22T09:59:50Z"
    assert tool("show", "nobody").returncode == 1
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
    assert "imported 2 rows; 0 were known already; 1 are bad" in first.stdout
    again = tool("import", str(file))
    assert "imported 0 rows; 2 were known already" in again.stdout
    assert len(world.cos.keys("tasks/")) == len(world.cos.keys("due/")) == 2
    file.write_text("a,b\n1,2\n")
    assert "the first line must name" in tool("import", str(file)).stderr


def test_an_export_that_is_imported_changes_nothing(
    world: World, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither here, where it is known, nor in an empty ledger: a hint stays one."""
    world.does(
        ckafka(world.created(end_time=world.clock.now + DAY), world.created(task_id=2, start_time=1_790_000_000))
    )
    world.does(ckafka(retention_expiry(task_id=3, expires_at=world.clock.now + DAY + 0.4), first_offset=5))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=9))
    world.clock.now += 5
    exported = tool("export").stdout
    before = {key: world.cos.body(key) for key in world.cos.keys("tasks/")}
    file = tmp_path / "ledger.csv"
    file.write_text(exported)
    tool("import", str(file))
    after = [json.loads(world.cos.body(key)) for key in before]
    world.cos.reset()
    assert "imported 3 rows" in tool("import", str(file)).stdout
    anew = [json.loads(world.cos.body(key)) for key in sorted(world.cos.keys("tasks/"))]
    for body, kept, new in zip(before.values(), after, anew, strict=True):
        old = json.loads(body)
        for name in ("asserted_at", "look_at", "started_at", "domain_name", "app_name"):
            if name.endswith("_name") or old[name] is None:
                assert old[name] == kept[name] == new[name], name
            else:
                assert abs(old[name] - new[name]) < 1, name
                assert name == "started_at" or old[name] <= new[name], "never early"
        assert old == kept


def test_of_several_rows_of_one_task_the_earliest_counts(world: World, tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    days = (3, 1, 2)
    rows = [f"room-{task},{task},2026-12-0{day}T00:00:00Z" for task in range(1, 41) for day in days]
    file.write_text("\n".join(["stream_name,task_id,due", *rows]))
    assert tool("import", str(file)).returncode == 0
    found = {json.loads(world.cos.body(key))["asserted_at"] for key in world.cos.keys("tasks/")}
    assert found == {1_796_083_200}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"stream_name,task_id,due\nroom,5,2026-12-01T00:00:00Z,more\n", "more cells than columns"),
        (b"stream_name,task_id,due\nroom,5\n", "due: missing"),
        (b"stream_name,task_id,due,due\n", "names a column twice"),
        (b"stream_name,task_id,due,price\n", "'price' is no column"),
        ("stream_name,task_id,due\n房间,5,\n".encode("gbk"), "is not UTF-8"),
        (b'stream_name,task_id,due\n"' + b"x" * 200_000 + b'",5,\n', "is no CSV"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(
    world: World, tool: Tool, tmp_path: Path, content: bytes, text: str
) -> None:
    file = tmp_path / "old.csv"
    file.write_bytes(content)
    done = tool("import", str(file))
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert world.cos.keys() == []


def test_a_requeued_hint_stays_one(world: World, tool: Tool) -> None:
    """Nobody said that it may go: it is looked at again."""
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 900 * DAY / 3)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    world.api.misbehave(Fault(error="InvalidParameter"), times=1, action="DeleteLiveRecord")
    assert world.sweep_after(HOUR).outcomes == [("failed", "invalid")]
    world.clock.now += 5
    assert "requeued" in tool("requeue", "--all").stdout
    world.api.state.push(Stream(STREAM))
    world.clock.now += 30 * DAY
    assert world.does(SWEEP).outcomes == [("scheduled", "stream_is_live")]


def test_what_lies_in_the_bucket_besides_does_not_stop_the_tools(world: World, tool: Tool) -> None:
    world.does(ckafka(retention_expiry(expires_at=world.clock.now + DAY)))
    world.clock.now += 5
    for key in ("tasks/", "due/", "due/x", "dead/", "dead/20261122/notes.txt", "tasks/" + "0" * 32 + "/5.json"):
        world.cos.put(key, b"")
    world.clock.now += 5
    for command in ("status", "due", "dead", "export", "reindex"):
        done = tool(command)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (command, done.stderr)
    assert STREAM in tool("export").stdout


def test_naming_keys_and_all_is_a_mistake(world: World, tool: Tool) -> None:
    world.does(ckafka("garbage"))
    [key] = world.cos.keys("dead/")
    assert "not both" in tool("drop", key, "--all").stderr
    assert tool("drop", "--al").returncode == 2
    assert world.cos.keys("dead/") == [key]


def test_reindexing_gives_every_task_its_pointer_again(world: World, tool: Tool) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(retention_expiry(expires_at=world.clock.now + HOUR)))
    world.clock.now += 5
    for key in world.cos.keys("due/"):
        world.cos.remove(key)
    assert "would have mended 1 tasks" in tool("reindex", "--dry-run").stdout
    assert world.cos.keys("due/") == []
    tool("reindex")
    assert world.sweep_after(2 * HOUR).outcomes == [("deleted", None)]


def test_without_a_ledger_the_tool_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    monkeypatch.delenv("REAPER_LEDGER")
    done = tool("status")
    assert done.returncode == 1
    assert "REAPER_LEDGER is not set" in done.stderr
    assert "Traceback" not in done.stderr
