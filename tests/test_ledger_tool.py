"""``python -m local ledger``, on the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.adapters.cos_keys import records_of
from handler.adapters.records import fields_of
from handler.core.entry import Entry
from handler.core.model import RecordTask
from handler.core.ports import LedgerAdmin
from handler.core.storage import LedgerUnavailable
from handler.settings import Settings
from local import dead_letters, ledger, ledger_csv
from local.cos import CosFault
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
        (b'stream_name,task_id,due\n"' + b"x" * 200_000 + b'",5,\n', "must have 1 to 256 characters"),
        (b"", "the file is empty"),
        (b"\n\r\n\n", "the file is empty"),
        (b"stream_name;task_id;due\nroom;5;\n", "separated by ';'"),
        (b"stream_name\ttask_id\tdue\nroom\t5\t\n", "separated by '\\t'"),
        (b"stream_name, task_id,due\nroom,5,\n", "' task_id' has blanks around it"),
        (b"room,5,2026-12-01T00:00:00Z\n", "is the header missing?"),
        (b"stream_name,due\nroom,2026-12-01T00:00:00Z\n", "missing: task_id"),
        (b'stream_name,"task_id,due\nroom,5,2026-12-01T00:00:00Z\n', "a quote in it is not closed"),
        ("stream_name,task_id,due\nroom,5,\n".encode("utf-16"), "is UTF-16"),
        ("stream_name,task_id,due\nroom,5,\n".encode("utf-16-le"), "has NUL bytes. Is it UTF-16?"),
        (b"stream_name,task_id,due\nroom,5,\nro\0om,6,\n", "old.csv:3: has NUL bytes"),
        ("stream_name,task_id,due\nroom,5,\ncafé,6,\n".encode("latin-1"), "old.csv:3: is not UTF-8"),
        (
            b"stream_name,task_id,due\n" + b"room,5,2026-12-01T00:00:00Z\n" * 2_000 + b"\xff,6,\n",
            "old.csv:2002: is not",
        ),
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
    assert "Run it again" not in done.stderr
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
    for key in ("tasks/", "due/", "due/0", "dead/", "dead/20261122/notes.txt", "tasks/" + "0" * 32 + "/5.json"):
        world.cos.put(key, b"")
    world.clock.now += 5
    for command in ("status", "due", "dead", "export", "reindex"):
        done = tool(command)
        odd = {"status": "tasks/0", "dead": "dead/20261122", "export": "tasks/0"}.get(command, "due/0")
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), (command, done.stderr)
        assert odd in done.stderr
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


# -- in this process: to do something between two requests, and because it costs less ------------


@pytest.fixture
def store(world: World, monkeypatch: pytest.MonkeyPatch) -> LedgerAdmin:
    monkeypatch.setattr("time.time", world.clock)
    place = Settings.read({"REAPER_LEDGER": world.cos.ledger, "REAPER_DRY_RUN": "true"}).ledger
    assert place
    return ledger.opened(place)


def letter(world: World, *, day: int = 22, died_at: float = 0.0, **entry: object) -> str:
    """Puts the dead letter of one task, under a key as older versions write it; returns the key."""
    of_task = Entry(RecordTask(STREAM, TASK), cause={"message_id": "m"}, created_at=world.clock.now - DAY)
    given: dict[str, Any] = {"delete_at": world.clock.now - HOUR, **entry}
    fields = fields_of(of_task._replace(**given), None)
    key = f"dead/202611{day}/{records_of(STREAM).split('/')[1]}-{TASK}.json"
    errors = [{"code": "InvalidParameter", "detail": "-", "times": 1, "first_at": 1.0, "last_at": 1.0}]
    body = {
        "stream_name": STREAM, "task_id": str(TASK), "reason": "invalid", "detail": None, "message": None,
        "errors": errors, "first_due_at": None, "died_at": world.clock.now + died_at, "entry": fields,
    }  # fmt: skip
    world.cos.put(key, json.dumps(body).encode())
    return key


def at_request(world: World, method: str, number: int, happens: Callable[[], object]) -> None:
    """Lets something happen just before the tool's request of that number and method."""
    seen: list[str] = []

    def gate(now: str) -> CosFault | None:
        seen.append(now)
        if now == method and seen.count(method) == number:
            happens()
        return None

    world.cos.gate = gate


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_a_letter_that_takes_the_place_of_the_one_that_was_read_stays(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], command: str, named: bool
) -> None:
    """A sweep tries what was just requeued, and gives up again: older versions write that under the same key."""
    key = letter(world)
    number = {"requeue": 5, "drop": 3}[command]  # its last reading, just before it deletes
    at_request(world, "GET", number, lambda: world.cos.put(key, b'{"newer": true}'))
    options = {"keys": [key] if named else [], "everything": not named, "dry_run": False}
    status = getattr(dead_letters, command)(store, **options)
    assert (status, world.cos.body(key)) == (1, b'{"newer": true}')
    assert key in capsys.readouterr().err


def test_what_was_requeued_while_a_new_letter_came_is_registered_all_the_same(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    key = letter(world)
    at_request(world, "PUT", 2, lambda: world.cos.put(key, b"{}"))
    assert dead_letters.requeue(store, keys=[key], everything=False, dry_run=False) == 1
    written = capsys.readouterr()
    assert f"requeued {STREAM} {TASK}" in written.out
    assert "a new letter" in written.err
    assert world.truth()["asserted_at"] == world.clock.now


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_letter_that_was_dropped_meanwhile_is_not_requeued(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], dry_run: bool
) -> None:
    """Whoever dropped it does not want its task to be deleted any more."""
    for request in (2, 3, 4):  # before it is read, before the task is read, before it is compared
        key = letter(world)
        at_request(world, "GET", request, lambda key=key: world.cos.remove(key))  # type: ignore[misc]
        assert dead_letters.requeue(store, keys=[key], everything=False, dry_run=dry_run) == 1
        written = capsys.readouterr()
        assert (written.out, "vanished" in written.err, world.cos.keys()) == ("", True, [])


def test_a_letter_that_is_named_twice_is_requeued_once(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    key = letter(world)
    for dry_run in (True, False):
        assert dead_letters.requeue(store, keys=[key, key], everything=False, dry_run=dry_run) == 0
        assert capsys.readouterr().out.count("requeued") == 1
    assert world.cos.keys("dead/") == []


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("newest", [20, 24])
def test_of_two_letters_of_one_task_the_newest_is_requeued_and_the_other_stays(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], newest: int, dry_run: bool
) -> None:
    """It says so in a dry run, too."""
    old = letter(world, day=22, domain_name="old")
    new = letter(world, day=newest, died_at=1.0, domain_name="new")
    assert dead_letters.requeue(store, keys=[], everything=True, dry_run=dry_run) == 1
    written = capsys.readouterr()
    assert written.out.count("requeued") == 1
    assert f"{old}: {STREAM} {TASK} has been registered anew" in written.err
    if not dry_run:
        assert world.truth()["domain_name"] == "new"
    assert world.cos.keys("dead/") == (sorted([old, new]) if dry_run else [old])


@pytest.mark.parametrize("asserted", [None, 30 * DAY])
def test_a_hint_without_a_domain_cannot_be_requeued(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], asserted: float | None
) -> None:
    """Nothing could be looked at, and nobody said that it may go."""
    at = None if asserted is None else world.clock.now + asserted
    key = letter(world, delete_at=at, check_at=world.clock.now - 5)
    for dry_run in (True, False):
        assert dead_letters.requeue(store, keys=[key], everything=False, dry_run=dry_run) == 1
        assert "send a stream-end" in capsys.readouterr().err
    assert world.cos.keys() == [key]


def test_an_assertion_is_requeued_without_a_domain(world: World, store: LedgerAdmin) -> None:
    key = letter(world)
    assert dead_letters.requeue(store, keys=[key], everything=False, dry_run=False) == 0
    assert world.truth()["asserted_at"] == world.clock.now


DEEP = b"[" * 100_000
GOOD = json.dumps({"message_id": "m", "details": ["-"], "body": "\ud800"}).encode()
ODD = {
    "not JSON": b"{", "empty": b"", "binary": b"\x00\xff\xfe", "a list": b"[1]", "a string": b'"ab"', "null": b"null",
    "deep": DEEP, "deep inside": b'{"message_id": "m", "details": ["-"], "body": ' + DEEP + b"}",
    "no field": b"{}", "details that are none": b'{"message_id": "m", "details": "abc"}',
    "details that are no texts": b'{"message_id": "m", "details": [1]}', "no message id": b'{"details": []}',
}  # fmt: skip


def odd_letters(world: World) -> list[str]:
    """Puts objects that are no letters, or nearly, beside what is one."""
    bodies = dict(ODD)
    for name in ("errors", "entry", "stream_name"):
        for what, value in (("missing", ...), ("of another kind", 5), ("null", None), ("of strings", ["a"])):
            fields = json.loads(world.cos.body(letter(world)))
            if value is ...:
                del fields[name]
            bodies[f"{name} {what}"] = json.dumps(fields | ({} if value is ... else {name: value})).encode()
    fields["stream_name"] = "another"
    bodies["an entry of another task"] = json.dumps(fields).encode()
    keys = [f"dead/20261101/{number:02}-[/].json" for number in range(len(bodies))]
    for key, body in zip(keys, bodies.values(), strict=True):
        world.cos.put(key, body)
    locked = "dead/20261101/99-archived.json"
    world.cos.put(locked, GOOD)
    world.cos.locked.add(locked)
    return [*keys, locked]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("command", ["dead", "requeue", "drop"])
def test_what_is_no_dead_letter_is_reported_by_its_key_and_stops_nothing(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], command: str, dry_run: bool
) -> None:
    odd, key = odd_letters(world), letter(world)
    more = {"as_json": dry_run} if command == "dead" else {"keys": [], "everything": True, "dry_run": dry_run}
    assert getattr(dead_letters, command)(store, **more) == 1
    written = capsys.readouterr()
    for line, odd_key in zip(written.err.splitlines(), odd, strict=True):
        assert line.startswith(f"{odd_key}: ")
    assert len(written.out.splitlines()) == (2 if command == "dead" and not dry_run else 1)
    left = odd if command != "dead" and not dry_run else [*odd, key]
    assert world.cos.keys("dead/") == left


def test_what_is_no_dead_letter_is_not_dropped_by_its_name_either(world: World, store: LedgerAdmin) -> None:
    """Nothing that was not understood is deleted."""
    odd = odd_letters(world)
    assert dead_letters.drop(store, keys=odd, everything=False, dry_run=False) == 1
    assert set(odd) <= set(world.cos.keys("dead/"))


def test_a_letter_that_holds_half_a_character_is_shown(world: World, tool: Tool) -> None:
    """A producer cut a text within an emoji; that cannot be written as UTF-8."""
    world.cos.put("dead/20261101/message-0.json", GOOD.replace(b'"-"', rb'"a \ud83d"'))
    assert json.loads(tool("dead", "--json").stdout)["body"] == "\ud800"
    assert "message-0" in tool("dead").stdout


def odd_entries(world: World) -> list[str]:
    """Puts objects that are no entries below ``tasks/`` and ``due/``; returns the keys of those below ``tasks/``."""
    prefix = records_of(STREAM)
    good = json.loads(world.cos.body(world.cos.keys("tasks/")[0]))
    bodies = [b"", b"\x00\xff", DEEP, b"[]", json.dumps({**good, "failures": 5}).encode(), json.dumps(good).encode()]
    keys = [f"{prefix}{900 + number}.json" for number in range(len(bodies))]
    for key, body in zip(keys, bodies, strict=True):
        world.cos.put(key, body)
        world.cos.put(key.replace("tasks/", "due/202611010000/").replace(".json", "-0"), b"")
    archived = f"{prefix}999.json"
    world.cos.put(archived, b"{}")
    world.cos.put(archived.replace("tasks/", "due/202611010000/").replace(".json", "-0"), b"")
    world.cos.locked.add(archived)
    return [*keys, archived]


@pytest.mark.parametrize("command", ["show", "due", "export", "reindex"])
def test_an_entry_that_cannot_be_read_is_reported_by_its_key_and_stops_nothing(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    world.clock.now += DAY
    odd = odd_entries(world)
    more: dict[str, dict[str, object]] = {
        "show": {"stream_name": STREAM, "task_id": None}, "due": {"as_json": True}, "reindex": {"dry_run": False},
    }  # fmt: skip
    run = ledger_csv.export if command == "export" else getattr(ledger, command)
    assert run(store, **more.get(command, {})) == 1
    written = capsys.readouterr()
    for line, key in zip(written.err.splitlines(), odd, strict=True):
        assert line.startswith(f"{key}: ")
    assert STREAM in written.out or command == "reindex"


@pytest.mark.parametrize(
    "key", ["due/x", "due/[/]", "due/999999999999/{}/1001-0", "due/202611010000/{}/x-0", "due/202611010000/{}/1001-0/y"]
)
def test_an_odd_key_among_the_index_keys_is_reported(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    key = key.format(records_of(STREAM).split("/")[1])
    world.cos.put(key, b"")
    assert ledger.status(store, as_json=True) == 1
    written = capsys.readouterr()
    assert json.loads(written.out)["tasks"] == 1
    assert written.err.startswith(f"{key}: ")
    assert ledger.reindex(store, dry_run=True) == 1


def test_status_tells_a_task_that_no_sweep_finds_from_one_without_a_due_time(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that was abandoned writes the record of a task that was deleted meanwhile."""
    for task_id in (1, 2, 3):
        world.does(ckafka(retention_expiry(task_id=task_id, expires_at=world.clock.now + DAY), first_offset=task_id))
    lost = {key: world.cos.body(key) for key in world.cos.keys("tasks/")[:2]}
    pointers = [json.loads(body)["pointer"] for body in lost.values()]
    for pointer in pointers:
        world.cos.remove(pointer)
    no_due = json.loads(next(iter(lost.values()))) | {"asserted_at": None, "pointer": None}
    no_due["task"]["task_id"] = 4
    world.cos.put(f"{records_of(STREAM)}4.json", json.dumps(no_due).encode())
    world.cos.put(f"{records_of(STREAM)}5.json", b"")
    world.cos.requests.clear()
    assert ledger.status(store, as_json=True) == 1
    written = capsys.readouterr()
    counts = json.loads(written.out)
    assert (counts["tasks"], counts["unindexed"], counts["no_due_time"]) == (5, 2, 1)
    assert "run reindex" in written.err
    assert f"{records_of(STREAM)}5.json" in written.err
    read = {request.key for request in world.cos.requests if request.key}
    assert f"reaper/{world.cos.keys('tasks/')[2]}" not in read
    ledger.reindex(store, dry_run=False)
    ledger.status(store, as_json=False)
    written = capsys.readouterr()
    assert "unindexed      0" in written.out
    assert "run reindex" not in written.err


def test_a_task_that_was_put_off_while_status_listed_is_not_missed(
    world: World, store: LedgerAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its old index key is gone, and its new one comes before the page that is being read: it has one all the same."""
    world.does(ckafka(retention_expiry(expires_at=world.clock.now + DAY)))
    [pointer] = world.cos.keys("due/")
    world.cos.remove(pointer)
    at_request(world, "GET", 3, lambda: world.cos.put(pointer, b""))  # after both listings
    ledger.status(store, as_json=True)
    assert json.loads(capsys.readouterr().out)["unindexed"] == 0


# -- CSV

HEADER = "stream_name,task_id,due,start_time,domain_name,app_name,look"
Import = Callable[..., tuple[int, str, str]]


@pytest.fixture
def imported(
    world: World,
    store: LedgerAdmin,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Import:
    """Imports rows, dry and for good; returns the exit status and what was printed, which must be alike."""
    monkeypatch.setattr(ledger_csv, "TELL_EVERY_SECONDS", float("inf"))

    def run(*rows: str, header: str = HEADER) -> tuple[int, str, str]:
        file = tmp_path / "old.csv"
        file.write_bytes("\n".join([header, *rows, ""]).encode())
        before = world.cos.keys()
        dry = ledger_csv.import_csv(store, path=file, dry_run=True), *capsys.readouterr()
        assert world.cos.keys() == before
        done = ledger_csv.import_csv(store, path=file, dry_run=False), *capsys.readouterr()
        assert (dry[0], dry[1].removeprefix("would have "), dry[2]) == done
        return done

    return run


NOON, LATER = "2026-12-01T12:00:00Z", "2026-12-02T12:00:00Z"


@pytest.mark.parametrize("rows_between", [0, 20, 501])
def test_a_dry_run_counts_as_the_import_does(world: World, imported: Import, rows_between: int) -> None:
    """Wherever in the file two rows of one task are."""
    between = [f"room-{number},{number}," + NOON + ",,,," for number in range(1, rows_between + 1)]
    again = [f"{STREAM},{TASK},{NOON},,,,", *between, f"{STREAM},{TASK},{NOON},,,,", f"{STREAM},{TASK},{LATER},,,,"]
    status, out, err = imported(*again)
    assert status == 0
    assert f"imported {rows_between + 1} rows; 2 were known already; 0 are bad; earlier time kept: 1" in out
    assert f"old.csv:{rows_between + 4}: {STREAM} {TASK}: earlier time kept: {NOON}" in err


@pytest.mark.parametrize(
    ("rows", "line", "lines", "counts"),
    [
        (['a,1,"{}', "b,2,{}", "c,3,{}"], 2, 3, (0, 3)),
        (["a,1,{}", '"b,2,{}', "c,3,{}", "d,4,{}", 'e",5,{}', "f,6,{}"], 3, 4, (2, 4)),
        (["a,1,{}", '"b\nb",2,{}', "c,3,{}"], 3, 2, (2, 2)),
        (["a,1,{}", '"b\rb",2,{}', "c,3,{}"], 3, 2, (2, 2)),
        (["a,1,{}", 'b,2,"{}'], 3, 1, (1, 1)),
        (["a,1,{}", '"b,2,{}', *["c,3,{}"] * 9_000], 3, 9_001, (1, 9_001)),
    ],
    ids=["from the first row", "to the next quote", "a name of two lines", "CR", "in the last line", "a large file"],
)
def test_a_quote_that_is_not_closed_is_named_with_the_lines_that_it_took(
    world: World, imported: Import, rows: list[str], line: int, lines: int, counts: tuple[int, int]
) -> None:
    status, out, err = imported(*(row.replace("{}", NOON) for row in rows), header="stream_name,task_id,due")
    assert status == 1
    [told] = err.splitlines()
    assert f"old.csv:{line}: " in told
    assert f"takes {lines} line" in told
    assert f"imported {counts[0]} rows; 0 were known already; {counts[1]} are bad" in out
    assert len(world.cos.keys("tasks/")) == counts[0]


@pytest.mark.parametrize("names", [",", "push.example.com,", ",live"])
@pytest.mark.parametrize("due", ["", NOON])
def test_a_look_without_domain_or_app_is_a_bad_row(world: World, imported: Import, names: str, due: str) -> None:
    status, out, err = imported(f"{STREAM},{TASK},{due},,{names},{NOON}")
    assert (status, "1 are bad" in out) == (1, True)
    assert "old.csv:2: look: needs both domain_name and app_name" in err
    assert world.cos.keys() == []


def test_a_row_says_all_that_is_wrong_with_it(world: World, imported: Import) -> None:
    _, _, err = imported(" room,x7,soon,2026-12-01T00:00:00,,,1796083200000")
    for text in (
        "stream_name: ",
        "task_id: ",
        'due: "soon"',
        "start_time: ",
        "has no offset",
        "look: ",
        "milliseconds",
    ):
        assert text in err, text
    assert "expires_at" not in err


@pytest.mark.parametrize("row", [f"{STREAM},{TASK},,,,,", f"{STREAM},{TASK},,{NOON},push.example.com,live,"])
def test_a_row_without_any_time_is_imported_counted_and_named(world: World, imported: Import, row: str) -> None:
    for count in ("imported 2 rows; 0 were known already", "imported 0 rows; 2 were known already"):
        status, out, err = imported(row, f"room-2,2,{NOON},,,,")
        assert (status, out) == (0, f"{count}; 0 are bad; will never be due: 1\n")
        [told] = err.splitlines()
        assert f"old.csv:2: {STREAM} {TASK}: will never be due" in told
    assert len(world.cos.keys("tasks/")) == 2


def test_a_row_without_any_time_is_not_named_where_the_ledger_knows_one(world: World, imported: Import) -> None:
    world.does(ckafka(retention_expiry(expires_at=world.clock.now + DAY)))
    assert imported(f"{STREAM},{TASK},,,,,")[1:] == ("imported 0 rows; 1 were known already; 0 are bad\n", "")


@pytest.mark.parametrize("row", ["{},,,,", "{},,push.example.com,live,", "{},,push.example.com,live," + NOON])
def test_an_imported_task_without_a_start_is_not_meant_by_a_stream_end_for_all(
    world: World, imported: Import, row: str
) -> None:
    """Nobody said that it had begun."""
    imported(f"{STREAM},{TASK},{row}".replace("{}", LATER))
    assert world.truth()["started_at"] is None
    imported(f"{STREAM},{TASK},{LATER},{NOON},,,")
    assert world.truth()["started_at"] == 1_796_126_400


@pytest.mark.parametrize("later", [LATER, "2027-01-01T00:00:00+08:00", "1796126401"])
def test_a_later_time_is_not_imported_and_said_to_be(world: World, imported: Import, later: str) -> None:
    imported(f"{STREAM},{TASK},{NOON},,,,")
    status, out, err = imported(f"{STREAM},{TASK},{later},,,,")
    assert status == 0
    assert out == "imported 0 rows; 1 were known already; 0 are bad; earlier time kept: 1\n"
    assert f"old.csv:2: {STREAM} {TASK}: earlier time kept: {NOON}" in err
    status, out, _ = imported(f"{STREAM},{TASK},{later},,push.example.com,,")
    assert out == "imported 1 rows; 0 were known already; 0 are bad; earlier time kept: 1\n"
    assert world.truth()["asserted_at"] == 1_796_126_400


@pytest.mark.parametrize("more", ["", ".4"])
def test_an_export_is_no_later_time(
    world: World, store: LedgerAdmin, imported: Import, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has whole seconds, and is never early."""
    world.does(ckafka(retention_expiry(expires_at=float(f"{int(world.clock.now + DAY)}{more}"))))
    ledger_csv.export(store)
    header, row = capsys.readouterr().out.splitlines()
    assert imported(row, header=header)[1:] == ("imported 0 rows; 1 were known already; 0 are bad\n", "")


def test_a_hint_of_a_task_without_an_app_is_exported_so_that_it_can_be_imported(
    world: World, store: LedgerAdmin, imported: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts as registered under ``live``, and the ledger that has it already keeps it as it is."""
    entry = Entry(RecordTask(STREAM, TASK), "push.example.com", check_at=world.clock.now + HOUR)
    store.save(entry, None)
    ledger_csv.export(store)
    header, row = capsys.readouterr().out.splitlines()
    assert imported(row, header=header)[1:] == ("imported 0 rows; 1 were known already; 0 are bad\n", "")
    assert world.truth()["app_name"] is None
    world.cos.reset()
    assert imported(row, header=header)[0] == 0
    assert (world.truth()["app_name"], world.truth()["look_at"]) == ("live", entry.check_at)


def test_an_entry_that_cannot_be_read_is_a_bad_row_and_not_the_end_of_an_import(world: World, imported: Import) -> None:
    imported(f"{STREAM},1,{NOON},,,,", f"{STREAM},2,{NOON},,,,", f"{STREAM},3,{NOON},,,,")
    world.cos.put(f"{records_of(STREAM)}1.json", b"{")
    world.cos.locked.add(f"{records_of(STREAM)}2.json")
    status, out, err = imported(*(f"{STREAM},{number},{NOON},,,," for number in (1, 2, 3, 4)))
    assert (status, "imported 1 rows; 1 were known already; 2 are bad" in out) == (1, True)
    assert [line.split(":")[1] for line in err.splitlines()] == ["2", "3"]


def test_what_the_bucket_refuses_to_store_is_a_bad_row(
    world: World, store: LedgerAdmin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.csv"
    file.write_text(f"stream_name,task_id,due\nroom,1,{NOON}\n")
    world.cos.faults.append(CosFault(status=400, method="PUT"))
    assert ledger_csv.import_csv(store, path=file, dry_run=False) == 1
    assert "1 are bad" in capsys.readouterr().out


def test_an_import_that_is_cut_short_says_to_run_it_again(
    world: World, store: LedgerAdmin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.csv"
    file.write_text(f"stream_name,task_id,due\nroom,1,{NOON}\n")
    world.cos.faults.append(CosFault(status=500, times=9))
    with pytest.raises(LedgerUnavailable):
        ledger_csv.import_csv(store, path=file, dry_run=False)
    assert "Run it again" in capsys.readouterr().err


def test_a_file_with_a_byte_order_mark_and_any_line_ends_is_imported(world: World, imported: Import) -> None:
    row = f"{STREAM},{TASK},{NOON}\r\n\r\n{STREAM},2,{NOON}\r{STREAM},3,{NOON}"
    assert imported(row, header="\ufeffstream_name,task_id,due")[0] == 0
    assert len(world.cos.keys("tasks/")) == 3


def test_the_tools_do_not_ask_whether_the_function_runs_dry(
    world: World, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said in ("", "perhaps", "true"):
        monkeypatch.setenv("REAPER_DRY_RUN", said)
        assert tool("status").returncode == 0
