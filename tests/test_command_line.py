"""``python -m local``, as a person runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from local.__main__ import main
from local.cos import CosStandIn
from local.live_api import Fault, LiveStandIn
from tests.support import STREAM, TASK, ckafka, retention_expiry, stream_end, timer

ROOT = Path(__file__).parent.parent


def local(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_invoke_prints_the_result_alone_on_stdout_and_the_log_on_stderr() -> None:
    done = local("invoke", "events/ckafka_stream_end.json")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert (result["metric"], result["deleted"]) == ("reaper_invocation", 3)
    assert [json.loads(line)["metric"] for line in done.stderr.splitlines()] == 3 * ["reaper_task"] + [
        "reaper_invocation"
    ]


def test_invoke_reads_standard_input_variables_and_a_context(tmp_path: Path) -> None:
    context = tmp_path / "context.json"
    context.write_text('{"request_id": "r-9"}')
    done = local("invoke", "-", "-e", "REAPER_DRY_RUN=true", "--context", str(context), stdin=json.dumps(stream_end()))
    result = json.loads(done.stdout)
    assert (result["request_id"], result["planned"], result["dry_run"]) == ("r-9", 1, True)


def test_invoke_exits_1_with_a_readable_error_when_the_handler_raised(api: LiveStandIn) -> None:
    api.misbehave(Fault(error="FailedOperation.AlterTaskState"))
    done = local("invoke", "-", stdin=json.dumps(stream_end()))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("raised RedeliveryNeeded: not everything")
    assert "Traceback" not in done.stderr

    done = local("invoke", "-", "-e", "REAPER_TYPO=1", stdin="{}")
    assert done.returncode == 1
    assert "raised SettingsError: REAPER_TYPO is not a setting" in done.stderr
    assert "Traceback" not in done.stderr


def test_invoke_deletes_on_its_own_stand_in_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REAPER_DRY_RUN")
    assert json.loads(local("invoke", "-", stdin=json.dumps(stream_end())).stdout)["deleted"] == 1
    done = local("invoke", "-", "-e", "REAPER_DRY_RUN=true", stdin=json.dumps(stream_end()))
    assert json.loads(done.stdout)["planned"] == 1


def test_invoke_on_an_endpoint_that_is_set_must_be_told_whether_to_delete(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REAPER_DRY_RUN")
    api.state.add(STREAM, TASK)
    done = local("invoke", "-", stdin=json.dumps(stream_end()))
    assert done.returncode == 1
    assert "raised SettingsError: REAPER_DRY_RUN is not set" in done.stderr
    assert not api.calls


def test_invoke_uses_the_endpoint_that_is_set(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    assert json.loads(local("invoke", "-", stdin=json.dumps(stream_end())).stdout)["deleted"] == 1
    assert len(api.calls) == 1


def test_invoke_never_shows_real_credentials_to_its_own_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRETID", "SECRETKEY", "SESSIONTOKEN"):
        monkeypatch.setenv(f"TENCENTCLOUD_{name}", "real")
    assert json.loads(local("invoke", "-", stdin=json.dumps(stream_end())).stdout)["deleted"] == 1


def test_invoke_works_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert json.loads(local("invoke", "events/direct_stream_end.json").stdout)["deleted"] == 1


REAL_LEDGER = "cos://somebody-1250000000/reaper?region=ap-guangzhou"
ELSEWHERE = REAL_LEDGER + "&endpoint=http://cos-proxy.internal:8080"


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Checks that ``invoke`` refuses to sweep with these settings."""
    event = tmp_path / "sweep.json"
    event.write_text(json.dumps(timer("")))

    def check(*settings: str) -> None:
        with patch.dict(os.environ):  # in this process, which costs less than one of its own
            status = main(["invoke", str(event), *(part for setting in settings for part in ("-e", setting))])
        written = capsys.readouterr()
        assert (status, written.out) == (2, ""), written.err
        [line] = written.err.splitlines()
        assert "REAPER_LEDGER" in line
        assert "REAPER_LIVE_ENDPOINT" in line
        assert "local serve" in line

    return check


@pytest.mark.parametrize("endpoint", [[], ["REAPER_LIVE_ENDPOINT="], ["REAPER_LIVE_ENDPOINT= "]])
@pytest.mark.parametrize("ledger", [REAL_LEDGER, ELSEWHERE, ""], ids=["real", "elsewhere", "a stand-in's"])
def test_invoke_does_not_pair_its_own_stand_in_with_any_ledger(
    refused: Callable[..., None], endpoint: list[str], ledger: str
) -> None:
    """It knows none of the tasks that the ledger holds: each would be taken for gone, and forgotten."""
    with CosStandIn() as cos:
        refused(*endpoint, f"REAPER_LEDGER={ledger or cos.ledger}")
        assert cos.requests == []


@pytest.mark.parametrize("ledger", [REAL_LEDGER, ELSEWHERE])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LocalHost", "localhost.", "0.0.0.0", "127.1"])
def test_invoke_does_not_pair_a_stand_in_of_the_api_with_a_real_ledger(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., None], host: str, ledger: str
) -> None:
    monkeypatch.setenv("REAPER_LIVE_ENDPOINT", api.url.replace("127.0.0.1", host))
    refused(f"REAPER_LEDGER={ledger}")
    assert api.calls == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "live.tencentcloudapi.com", "https://live.tencentcloudapi.com", "Live.TencentCloudAPI.com:443",
        "live.ap-guangzhou.tencentcloudapi.com", "http://live-proxy.internal:8080", "10.0.0.7",
        "localhost-proxy.example",
    ],
)  # fmt: skip
def test_invoke_does_not_pair_the_real_api_with_the_ledger_of_a_stand_in(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., None]
) -> None:
    with CosStandIn() as cos:
        for host in ("127.0.0.1", "localhost"):
            monkeypatch.setenv("REAPER_LEDGER", cos.ledger.replace("127.0.0.1", host))
            refused(f"REAPER_LIVE_ENDPOINT={endpoint}")
        assert cos.requests == []


def test_invoke_pairs_what_serve_exports(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.add(STREAM, TASK)
    with CosStandIn() as cos:
        monkeypatch.setenv("REAPER_LEDGER", cos.ledger)
        done = local("invoke", "-", "-e", "REAPER_DRY_RUN=false", stdin=json.dumps(ckafka(stream_end())))
        assert (done.returncode, json.loads(done.stdout)["deleted"]) == (0, 1)
        assert cos.requests


def test_invoke_takes_no_ledger_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_LEDGER", REAL_LEDGER)
    done = local("invoke", "-", "-e", "REAPER_LEDGER=", stdin=json.dumps(stream_end()))
    assert json.loads(done.stdout)["deleted"] == 1


@pytest.mark.parametrize("said", [[], ["-e", "REAPER_DRY_RUN="], ["-e", "REAPER_DRY_RUN= "]])
def test_invoke_says_that_its_own_stand_in_deletes_unless_told_otherwise(said: list[str]) -> None:
    done = local("invoke", "-", *said, stdin=json.dumps(stream_end()))
    assert (json.loads(done.stdout)["deleted"], json.loads(done.stdout)["dry_run"]) == (1, False)


def test_invoke_takes_an_endpoint_of_blanks_for_none() -> None:
    """As the settings do: it is its own stand-in then, never the real API."""
    done = local(
        "invoke", "-", "-e", "REAPER_LIVE_ENDPOINT= ", stdin=json.dumps(retention_expiry(expires_at=1_700_000_000))
    )
    assert json.loads(done.stdout)["deleted"] == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["invoke", "events/nothing.json"], "events/nothing.json: No such file"),
        (["invoke", "README.md"], "README.md is not JSON"),
        (["invoke", "-", "-e", "X"], "'X': must be K=V"),
        (["serve", "--record", "room"], "must be STREAM=TASK_ID"),
        (["serve", "--record", "room=0"], "must be STREAM=TASK_ID"),
        (["serve", "--port", "99999"], "must be from 0 to 65535"),
        (["serve", "--qps", "0"], "must be more than 0"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "required: COMMAND"),
    ],
)
def test_a_mistake_on_the_command_line_is_explained(arguments: list[str], text: str) -> None:
    done = local(*arguments, stdin="{}")
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_help_helps() -> None:
    done = local("--help")
    assert done.returncode == 0
    for command in ("demo", "serve", "invoke", "events"):
        assert re.search(rf"^ +{command} +\w", done.stdout, re.MULTILINE)


def test_events_lists_each_sample_in_one_line() -> None:
    done = local("events")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [f"events/{path.name}" for path in sorted((ROOT / "events").glob("*_*.json"))]


def test_demo_tells_the_whole_story_in_time() -> None:
    began = time.monotonic()
    done = local("demo")
    assert time.monotonic() - began < 20
    assert done.returncode == 0
    for text in (
        "events/timer_sweep.json",
        "raised RedeliveryNeeded",
        "Totals",
        "The API received 19 calls",
        "15 of 18",
    ):
        assert text in done.stdout
    assert not done.stderr


def test_serve_prints_what_to_export_and_logs_calls() -> None:
    serve = subprocess.Popen(
        [sys.executable, "-m", "local", "serve", "--record", f"{STREAM}={TASK}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert serve.stdout
        lines = [serve.stdout.readline() for _ in range(7)]
        exported = dict(shlex.split(line)[1].split("=", 1) for line in lines)
        assert exported["REAPER_LIVE_ENDPOINT"].startswith("http://127.0.0.1:")
        assert exported["REAPER_DRY_RUN"] == "false"
        done = subprocess.run(
            [sys.executable, "-m", "local", "invoke", "-"], cwd=ROOT, input=json.dumps(stream_end()),
            capture_output=True, text=True, check=True, env={**os.environ, **exported},
        )  # fmt: skip
        assert json.loads(done.stdout)["deleted"] == 1
    finally:
        serve.send_signal(signal.SIGTERM)
        _, log = serve.communicate(timeout=10)
    assert serve.returncode == 0
    assert f"DeleteLiveRecord StreamName={STREAM} TaskId={TASK} → ok" in log
    assert "1 calls, 0 recordings left" in log


def test_demo_shows_the_defaults_whatever_the_shell_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_DRYRUN", "typo")
    monkeypatch.setenv("REAPER_STREAMS", "nothing")
    done = local("demo")
    assert "15 of 18 records are deleted" in done.stdout


def test_serve_says_when_its_port_is_taken(api: LiveStandIn) -> None:
    done = local("serve", "--port", api.url.rpartition(":")[2])
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
