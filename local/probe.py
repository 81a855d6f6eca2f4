"""``python -m local probe``: asks the real API what nobody has documented, and compares it with what is assumed here.

No stream is pushed: two recording tasks, a day ahead and under a name of their own, are created and deleted again.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from handler.adapters.cos_bucket import Bucket
from handler.adapters.credentials import NoCredentialsError, RoleCredentials
from handler.adapters.http_session import HttpSession
from handler.adapters.live_api import API_VERSION
from handler.adapters.live_errors import UNREADABLE_ANSWER, classify
from handler.core.storage import LedgerError
from handler.masking import VARIABLES, without_secrets
from handler.settings import Settings, SettingsError

OK = "ok"
GONE = "ResourceNotFound.TaskId"
CHINA = timezone(timedelta(hours=8))
TRIES = 3
SETTLE_SECONDS = 1.0  # between what is done to a task and what is asked about it
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


@dataclass
class Finding:
    """One question, and what came of it. ``answer`` is "ok", a state, or the code of an error."""

    question: str
    assumed: str
    where: str
    answer: str = "not asked"
    message: str = ""
    request_id: str = ""

    @property
    def verdict(self) -> str:
        if self.answer == "not asked":
            return "not asked"
        if self.answer.startswith(("UnauthorizedOperation", "AuthFailure")):
            return "not permitted"
        return "as assumed" if self.answer == self.assumed else "differs"


class Probe:
    """Asks, and remembers which tasks it has to clean up."""

    def __init__(self, settings: Settings, domain: str, app: str, sleep: Callable[[float], None] = time.sleep) -> None:
        http = HttpProfile(
            protocol=settings.live_endpoint.scheme, endpoint=settings.live_endpoint.address, reqTimeout=15
        )
        self._sdk = CommonClient("live", API_VERSION, RoleCredentials(), "", ClientProfile(httpProfile=http))
        self._settings, self._sleep = settings, sleep
        self._where = {"DomainName": domain, "AppName": app}
        self.stream_name = f"reaper-probe-{secrets.token_hex(6)}"
        self.left: set[int] = set()
        self.unnamed = 0  # tasks that may exist, but no answer named them
        self.findings: list[Finding] = []

    def run(self) -> None:
        """All questions; what was created is deleted in any case."""
        try:
            self._look()
            first = self._create("creating a timed task, a day ahead")
            self._delete("deleting a task that does not exist", 2**62 + secrets.randbelow(2**60), GONE, _ERRORS)
            if first is not None:
                other = f"{self.stream_name}-other"
                self._delete("deleting a task by its id, with another stream's name", first, GONE, _STAND_IN, other)
                self._delete("deleting a timed task before its end", first, OK, _PLANNER)
                self._delete("deleting the same task once more", first, GONE, _ERRORS)
            second = self._create("creating another one")
            if second is not None:
                self._ask(Finding("stopping a task that has not begun", OK, _STAND_IN), "StopLiveRecord", second)
                self._delete("deleting a stopped task", second, OK, _STAND_IN)
            self._ledger()
        finally:
            for task_id in sorted(self.left):
                for _ in range(TRIES):
                    self._delete(f"cleaning up: deleting {task_id}", task_id, OK, "")
                    if task_id not in self.left:
                        break

    def _look(self) -> None:
        finding = Finding("looking at a stream that was never pushed", "inactive", _LOOK)
        answer = self._call(finding, "DescribeLiveStreamState", {**self._where, "StreamName": self.stream_name})
        if answer is not None:
            finding.answer = str(answer.get("StreamState"))

    def _create(self, question: str) -> int | None:
        start = datetime.now(CHINA) + timedelta(days=1)
        times = {"StartTime": _china(start), "EndTime": _china(start + timedelta(hours=1))}
        finding = Finding(question, OK, "")
        answer = self._call(finding, "CreateLiveRecord", {**self._where, "StreamName": self.stream_name, **times})
        try:
            task_id = int((answer or {})["TaskId"])
        except (KeyError, TypeError, ValueError):
            # Without a clear refusal, or with an answer that names no task, it may exist all the same.
            self.unnamed += not finding.request_id or answer is not None
            return None
        out.print(f"[dim]created {self.stream_name} {task_id}[/]")
        self.left.add(task_id)
        return task_id

    def _delete(self, question: str, task_id: int, assumed: str, where: str, stream_name: str = "") -> None:
        answer = self._ask(Finding(question, assumed, where), "DeleteLiveRecord", task_id, stream_name)
        if not stream_name and (answer is not None or self.findings[-1].answer == GONE):
            self.left.discard(task_id)

    def _ask(self, finding: Finding, action: str, task_id: int, stream_name: str = "") -> dict[str, Any] | None:
        self._sleep(SETTLE_SECONDS)
        return self._call(finding, action, {"StreamName": stream_name or self.stream_name, "TaskId": task_id})

    def _call(self, finding: Finding, action: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, if there is one; what came of it is noted in ``finding``."""
        self.findings.append(finding)
        try:
            answer: dict[str, Any] = self._sdk.call_json(action, params)["Response"]
            refused = answer.get("Error")
            if refused:  # the SDK overlooks it behind a content type with a charset
                finding.answer, finding.message = refused["Code"], without_secrets(refused["Message"])[:300]
                finding.request_id = str(answer.get("RequestId", ""))
                return None
        except TencentCloudSDKException as error:
            finding.answer, finding.message = str(error.code), without_secrets(str(error.message))[:300]
            finding.request_id = str(error.requestId or "")
            return None
        except Exception as error:  # noqa: BLE001  whatever escapes the SDK: a cut body, no JSON, no envelope
            finding.answer, finding.message = (
                UNREADABLE_ANSWER,
                without_secrets(f"{type(error).__name__}: {error}")[:300],
            )
            return None
        finding.answer, finding.request_id = OK, str(answer.get("RequestId", ""))
        return answer

    def _ledger(self) -> None:
        place = self._settings.ledger
        finding = Finding(
            "writing, reading, listing and deleting below the ledger's prefix", OK, "handler/adapters/cos_bucket.py"
        )
        self.findings.append(finding)
        if place is None:
            finding.message = "REAPER_LEDGER is not set"
            return
        key = f"probe/{self.stream_name}"
        try:
            bucket = Bucket(place, HttpSession(), 10.0, self._sleep, random.random)
            bucket.put(key, b"{}")
            seen = (bucket.get(key), [found for found, _ in bucket.keys("probe/") if found == key])
            bucket.delete(key)
        except LedgerError as error:
            finding.answer, finding.message = "refused", str(error)
            return
        finding.answer = OK if seen[0] == b"{}" else "not read back"
        finding.message = "" if seen[1] else "the listing did not show it yet: listings lag, as is reckoned with"


_ERRORS = "handler/adapters/live_errors.py (gone)"
_STAND_IN = "local/live_api.py, LiveState.delete"
_PLANNER = "handler/core/plan.py: a stream-end is acted on at once"
_LOOK = "handler/adapters/live_api.py, send"


def _china(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def probe(domain: str, app: str, report: Path, yes: bool) -> int:
    """Asks everything, prints a table, writes ``report``; returns the exit status."""
    try:
        settings = Settings.for_tools(os.environ)
        RoleCredentials().get_credential_info()
    except SettingsError as error:
        return _problem(str(error))
    except NoCredentialsError:
        return _problem(f"{VARIABLES[0]} and {VARIABLES[1]} are not both set: export credentials of your account")
    out.print(
        f"This creates two recording tasks under a name of their own, on {escape(domain)}/{escape(app)} at "
        f"{settings.live_endpoint.address},\nfor a time a day ahead, asks about them, and deletes them again. "
        "Nothing is pushed, and no other task is touched.\nIt needs live:CreateLiveRecord and live:StopLiveRecord "
        "besides what the function needs."
    )
    if not yes:
        return _problem("nothing was done: say --yes to go on")
    try:
        report.touch()
    except OSError as error:
        return _problem(f"{report}: {error.strerror}: name another with --report")
    asked = Probe(settings, domain, app)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was created is deleted then, too
    try:
        asked.run()
    finally:
        _tell(asked, report, settings)
    fine = all(finding.verdict in ("as assumed", "not asked") for finding in asked.findings)
    return 0 if fine and not asked.left and not asked.unnamed else 1


_STYLES = {"as assumed": "green", "differs": "bold yellow", "not permitted": "red", "not asked": "dim"}


def _tell(asked: Probe, report: Path, settings: Settings) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("question", "answer", "assumed", "", "where that is assumed"):
        table.add_column(heading)
    for finding in asked.findings:
        verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.question, escape(finding.answer), finding.assumed, verdict, finding.where)
    out.print(table)
    for finding in asked.findings:
        if finding.message and finding.verdict != "as assumed":
            out.print(f"[dim]{finding.question}: {escape(finding.message)}[/]")
    if asked.left:
        out.print(f"[red]left behind, of {asked.stream_name}: {', '.join(map(str, sorted(asked.left)))}[/]")
        out.print(f"delete each: tccli live DeleteLiveRecord --StreamName {asked.stream_name} --TaskId …")
    if asked.unnamed:
        out.print(f"[red]{asked.unnamed} more may exist, of {asked.stream_name}: no answer named them[/]")
    findings = [
        {**asdict(finding), "verdict": finding.verdict, "class": _class(finding.answer)} for finding in asked.findings
    ]
    content = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "endpoint": settings.live_endpoint.address,
        "sdk": importlib.metadata.version("tencentcloud-sdk-python-common"),
        "stream_name": asked.stream_name,
        "left_behind": sorted(map(str, asked.left)),
        "unnamed": asked.unnamed,
        "findings": findings,
    }
    report.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    out.print(f"written: {report}, without any secret: attach it if something differs")


def _class(answer: str) -> str | None:
    return (
        None if answer in (OK, "inactive", "active", "forbid", "refused", "not read back") else classify(answer).value
    )


def _problem(text: str) -> int:
    out.print(f"[red]{escape(text)}[/]")
    return 2
