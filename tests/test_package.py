"""The package: complete, lean, reproducible, and loaded the way the platform loads it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from handler.core.model import RecordTask
from local import package
from local.cos import CosStandIn
from local.live_api import LiveStandIn, Stream
from tests.support import STREAM, TASK, ckafka, cloud_event, cmq, dead_letter, push_callback, stream_end, timer
from tests.test_callbacks import KEY, http, signature

VERSION = package.RUNTIME if package.python(package.RUNTIME) else f"{sys.version_info[0]}.{sys.version_info[1]}"
DRIVER = Path(__file__).parent / "platform_driver.py"

# Imports of what was left out that are never reached, and why.
UNREACHED = {
    ("requests/__init__.py", "charset_normalizer"): "in a try: requests does without",
    ("pydantic/_internal/_generate_schema.py", "pydantic.v1"): "only for a model of pydantic 1",
}


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "build"
    assert package.make(folder, VERSION)
    return folder


@pytest.fixture
def unpacked(build: Path, tmp_path: Path) -> Path:
    """What the platform unpacks: nothing but the zip's content, and nothing that can be written to."""
    package.zip_of(build, tmp_path / "package.zip")
    folder = tmp_path / "user"
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        archive.extractall(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def handled(unpacked: Path, events: list[object], environment: dict[str, str]) -> tuple[list[Any], list[Any], str]:
    """What the package answered to each event, the invocation lines, and all that it printed."""
    interpreter = package.python(VERSION)
    assert interpreter
    before = sorted(unpacked.rglob("*"))
    done = subprocess.run(
        [interpreter, "-I", "-S", "-B", str(DRIVER), str(unpacked)],
        input=json.dumps([[event, {}] for event in events]),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "REAPER_DRY_RUN": "false", **environment},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(unpacked.rglob("*")) == before
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return json.loads(done.stderr), [line for line in lines if line["metric"] == "reaper_invocation"], done.stdout


@pytest.fixture
def cos() -> Iterator[CosStandIn]:
    with CosStandIn() as stand_in:
        yield stand_in


def test_one_of_each_event_without_a_ledger(unpacked: Path, api: LiveStandIn) -> None:
    tasks = [RecordTask(STREAM, TASK + number) for number in range(6)]
    for task in tasks:
        api.state.add(task.stream_name, task.task_id)
    ends = [stream_end(task.stream_name, task.task_id) for task in tasks]
    events: list[object] = [
        ends[0], ckafka(ends[1]), cmq(ends[2]), timer(ends[3]), cloud_event(ends[4]), dead_letter(ckafka(ends[5])),
        http(push_callback()), "Hello from CKafka!",
    ]  # fmt: skip
    answers, invocations, log = handled(unpacked, events, api.environment)
    assert [line["deleted"] for line in invocations] == [1] * 6 + [0] * 2
    assert [line["cold_start"] for line in invocations] == [True] + [False] * 7
    assert answers[6]["returned"]["statusCode"] == 403
    assert invocations[7]["rejected"] == 1
    assert not api.state.recordings
    for secret in (api.environment["TENCENTCLOUD_SECRETKEY"], api.environment["TENCENTCLOUD_SESSIONTOKEN"]):
        assert secret not in log


def test_a_ledger_from_registration_to_the_last_look(unpacked: Path, api: LiveStandIn, cos: CosStandIn) -> None:
    now = int(time.time())
    off_air, on_air = Stream("room-off"), Stream("room-on")
    api.state.push(on_air)
    api.state.add(off_air.name, 1)
    api.state.add(on_air.name, 2)
    created = [
        {"type": "task-created", "stream_name": stream.name, "task_id": task_id, "start_time": now - 7200,
         "end_time": now + 7200, "domain_name": stream.domain, "app_name": stream.app}
        for task_id, stream in enumerate((off_air, on_air), 1)
    ]  # fmt: skip
    signed = {"t": now + 600, "sign": signature(now + 600), "event_time": now - 3600}
    callbacks = [
        http(push_callback(0, app=stream.domain, appname=stream.app, stream_id=stream.name, **signed))
        for stream in (off_air, on_air)
    ]
    environment = {
        **api.environment, "REAPER_LEDGER": cos.ledger, "REAPER_CALLBACK_KEY": KEY, "REAPER_GRACE_SECONDS": "0"
    }  # fmt: skip
    answers, invocations, _ = handled(unpacked, [ckafka(*created), *callbacks, timer()], environment)
    assert [answer["returned"]["statusCode"] for answer in answers[1:3]] == [200, 200]
    assert (invocations[-1]["deleted"], invocations[-1]["scheduled"]) == (1, 1)
    assert list(api.state.recordings) == [2]
    assert len(cos.keys("tasks/")) == 1


def test_it_is_compiled_for_a_folder_that_cannot_be_written_to(build: Path) -> None:
    sources = list(build.rglob("*.py"))
    assert len(sources) > 100
    for source in sources:
        [compiled] = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-{VERSION.replace('.', '')}.pyc")
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == 0b01, "an unchecked hash: nothing is compared with the source's date"


@pytest.mark.slow
def test_the_same_bytes_each_time(build: Path, tmp_path: Path) -> None:
    package.make(tmp_path / "build", VERSION)
    for number, folder in enumerate((build, tmp_path / "build")):
        package.zip_of(folder, tmp_path / f"{number}.zip")
    assert (tmp_path / "0.zip").read_bytes() == (tmp_path / "1.zip").read_bytes()
    assert (tmp_path / "0.zip").stat().st_size < package.LARGEST_ZIP


def test_nothing_that_is_kept_imports_what_was_left_out(build: Path) -> None:
    """Read off every import in every file, inside functions, too; but not what only a type checker follows."""
    found = {
        (path.relative_to(build).as_posix(), module)
        for path in build.rglob("*.py")
        for module in imports(path, build)
        if is_left_out(module)
    }
    assert found == set(UNREACHED)


def is_left_out(module: str) -> bool:
    path = module.replace(".", "/")
    return path.partition("/")[0] in ("Crypto", "charset_normalizer") or any(
        fnmatchcase(name, pattern) for name in (f"{path}.py", f"{path}/__init__.py") for pattern in package.LEFT_OUT
    )


def imports(path: Path, root: Path) -> Iterator[str]:
    """The dotted names that a file imports; of a ``from``, also each name as if it were a module."""
    parents = path.relative_to(root).parent.parts
    todo: list[ast.AST] = [ast.parse(path.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            if not is_left_out(module):
                yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))
