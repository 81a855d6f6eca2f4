"""``python -m local probe``, against the stand-in: it finds what is assumed, and says where it is otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local import probe
from local.cos import CosFault, CosStandIn
from local.live_api import Fault, LiveStandIn

DOMAIN = "push.example.com"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SETTLE_SECONDS", 0.0)


def run(path: Path, *, yes: bool = True) -> tuple[int, dict[str, Any]]:
    report = path / "report.json"
    status = probe.probe(DOMAIN, "live", report, yes)
    return status, json.loads(report.read_text()) if report.exists() else {}


def test_all_is_as_assumed_and_nothing_stays(api: LiveStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with CosStandIn() as cos:
        monkeypatch.setenv("REAPER_LEDGER", cos.ledger)
        status, report = run(tmp_path)
        assert cos.keys() == []
    assert (status, report["left_behind"]) == (0, [])
    assert {finding["verdict"] for finding in report["findings"]} == {"as assumed"}, report
    assert len(report["findings"]) == 10
    assert not api.state.recordings
    streams = {call.params["StreamName"] for call in api.calls}
    assert all(name.startswith("reaper-probe-") for name in streams), "touches nothing but its own"
    text = (tmp_path / "report.json").read_text()
    assert not any(api.environment[name] in text for name in api.environment if name.startswith("TENCENTCLOUD_"))


def test_without_a_yes_nothing_is_done(api: LiveStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, yes=False) == (2, {})
    assert not api.calls
    assert "say --yes" in capsys.readouterr().out


def test_a_difference_is_told_and_what_is_left_is_cleaned_up(api: LiveStandIn, tmp_path: Path) -> None:
    """The API refuses to delete before the end: at first."""
    api.misbehave(Fault(error="FailedOperation.AlterTaskState"), times=3, action="DeleteLiveRecord")
    status, report = run(tmp_path)
    verdicts = {finding["question"]: finding for finding in report["findings"]}
    early = verdicts["deleting a timed task before its end"]
    assert (status, early["answer"], early["verdict"]) == (1, "FailedOperation.AlterTaskState", "differs")
    assert early["class"] == "busy"
    assert report["left_behind"] == []
    assert not api.state.recordings


def test_what_is_not_permitted_is_told(api: LiveStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.misbehave(Fault(error="UnauthorizedOperation"), times=1, action="DescribeLiveStreamState")
    with CosStandIn() as cos:
        cos.faults.append(CosFault(status=403, times=9))
        monkeypatch.setenv("REAPER_LEDGER", cos.ledger)
        status, report = run(tmp_path)
    by = {finding["question"]: finding for finding in report["findings"]}
    assert status == 1
    assert by["looking at a stream that was never pushed"]["verdict"] == "not permitted"
    assert (
        "access to the ledger was denied"
        in by["writing, reading, listing and deleting below the ledger's prefix"]["message"]
    )


@pytest.mark.parametrize(
    "fault", [Fault(drop="after"), Fault(body=b"{}"), Fault(extra={"TaskId": None}), Fault(body=b"[]")]
)
def test_a_task_that_no_answer_named_is_not_forgotten(api: LiveStandIn, tmp_path: Path, fault: Fault) -> None:
    api.misbehave(fault, times=1, action="CreateLiveRecord")
    status, report = run(tmp_path)
    assert (status, report["unnamed"], report["left_behind"]) == (1, 1, [])
    assert len(api.state.recordings) == 1


def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(api: LiveStandIn, tmp_path: Path) -> None:
    assert probe.probe(DOMAIN, "live", tmp_path / "none" / "report.json", True) == 2
    assert not api.calls


def test_what_cannot_be_cleaned_up_is_named(api: LiveStandIn, tmp_path: Path) -> None:
    api.misbehave(Fault(error="InternalError"), times=99, action="DeleteLiveRecord")
    status, report = run(tmp_path)
    assert status == 1
    assert sorted(map(int, report["left_behind"])) == sorted(api.state.recordings)
    assert len(api.state.recordings) == 2
