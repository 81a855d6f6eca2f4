"""The stand-in, held to what real clients send and to what the service answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import datetime, timezone
from http.client import HTTPConnection
from typing import Any

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import models
from tencentcloud.live.v20180801.live_client import LiveClient

from local.live_api import (
    API_VERSION,
    RUNNING_TASKS,
    SECRET_ID,
    SECRET_KEY,
    SESSION_TOKEN,
    TASKS_A_DAY,
    LiveStandIn,
    Stream,
)
from tests.support import STREAM, TASK, FakeClock

TASK_PARAMS = {"StreamName": STREAM, "TaskId": TASK}


def client(api: LiveStandIn, key: str = SECRET_KEY, **more: Any) -> LiveClient:
    """The vendor's typed client, as a tutorial would use it."""
    http = HttpProfile(protocol="http", endpoint=api.url.removeprefix("http://"))
    return LiveClient(
        Credential(more.get("id", SECRET_ID), key, more.get("token", SESSION_TOKEN)),
        "",
        ClientProfile(httpProfile=http),
    )


def delete(live: LiveClient, stream_name: Any = STREAM, task_id: Any = TASK) -> None:
    request = models.DeleteLiveRecordRequest()
    request.StreamName, request.TaskId = stream_name, task_id
    live.DeleteLiveRecord(request)


def code_of(live: LiveClient, **params: Any) -> str:
    with pytest.raises(TencentCloudSDKException) as caught:
        delete(live, **params)
    return str(caught.value.code)


# -- clients -----------------------------------------------------------------------------------


def test_the_typed_client_creates_stops_and_deletes(api: LiveStandIn) -> None:
    live = client(api)
    create = models.CreateLiveRecordRequest()
    create.StreamName, create.StartTime, create.EndTime = STREAM, "2026-11-22 10:00:00", "2099-11-22 12:00:00"
    task_id = live.CreateLiveRecord(create).TaskId
    stop = models.StopLiveRecordRequest()
    stop.StreamName, stop.TaskId = STREAM, task_id
    live.StopLiveRecord(stop)
    delete(live, task_id=task_id)
    assert code_of(live, task_id=task_id) == "ResourceNotFound.TaskId"


def test_the_typed_client_sees_who_is_on_air(api: LiveStandIn) -> None:
    stream = Stream(STREAM)
    request = models.DescribeLiveStreamStateRequest()
    request.StreamName, request.DomainName, request.AppName = STREAM, stream.domain, stream.app
    states = []
    for happens in (None, api.state.push, api.state.interrupt, api.state.forbid):
        if happens:
            happens(stream)
        states.append(client(api).DescribeLiveStreamState(request).StreamState)
    assert states == ["inactive", "active", "inactive", "forbid"]


def post(
    api: LiveStandIn,
    host: str,
    *,
    service: str = "live",
    signed_host: str | None = None,
    content_type: str = "application/json",
    signed_headers: str = "content-type;host",
    **more: Any,
) -> dict[str, Any]:
    """A request built by the signing rules of API 3.0, with nothing of ours or the SDK's in between."""
    timestamp = more.get("timestamp", int(time.time()))
    date = datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%d")
    body = more.get("body", json.dumps(TASK_PARAMS)).encode()
    headers = {
        "Content-Type": content_type,
        "Host": host,
        "X-TC-Action": more.get("action", "DeleteLiveRecord"),
        "X-TC-Version": more.get("version", API_VERSION),
        "X-TC-Timestamp": str(timestamp),
        "X-TC-Token": SESSION_TOKEN,
    }
    values = {name.lower(): value for name, value in headers.items()} | {"host": signed_host or host}
    if more.get("lower"):
        values = {name: value.lower() for name, value in values.items()}
    canonical = "POST\n/\n\n" + "".join(f"{name}:{values[name]}\n" for name in signed_headers.split(";"))
    canonical += f"\n{signed_headers}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{date}/{service}/tc3_request"
    to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("TC3" + SECRET_KEY).encode()
    for part in (date, service, "tc3_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["Authorization"] = more.get(
        "authorization",
        f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope}, SignedHeaders={signed_headers}, Signature={key.hex()}",
    )
    connection = HTTPConnection("127.0.0.1", int(api.url.rpartition(":")[2]), timeout=5)
    try:
        connection.request(more.get("method", "POST"), "/", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        response: dict[str, Any] = json.loads(answer.read())["Response"]
        return response
    finally:
        connection.close()


def error_of(response: dict[str, Any]) -> str | None:
    assert response["RequestId"]
    return response["Error"]["Code"] if "Error" in response else None


def habits(api: LiveStandIn) -> dict[str, dict[str, Any]]:
    address = api.url.removeprefix("http://")
    return {
        "python sdk: the host as sent": {"host": address},
        "the vendor's cli: with the scheme": {"host": api.url},
        "node sdk: without the port, first label as service": {
            "host": address, "signed_host": "127.0.0.1", "service": "127",
        },
        "the document: more signed headers, lower-case values": {
            "host": address,
            "content_type": "application/json; charset=utf-8",
            "signed_headers": "content-type;host;x-tc-action",
            "lower": True,
        },
    }  # fmt: skip


@pytest.mark.parametrize("number", range(4))
def test_every_conforming_client_is_let_in(api: LiveStandIn, number: int) -> None:
    api.state.add(STREAM, TASK)
    name, habit = list(habits(api).items())[number]
    assert error_of(post(api, **habit)) is None, name
    assert not api.state.recordings


def test_a_host_that_was_not_signed_is_refused(api: LiveStandIn) -> None:
    assert error_of(post(api, "127.0.0.1", signed_host="live.tencentcloudapi.com")) == "AuthFailure.SignatureFailure"


# -- the service's own error codes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"timestamp": int(time.time()) - 400}, "AuthFailure.SignatureExpire"),
        ({"timestamp": int(time.time()) + 4000}, "AuthFailure.SignatureExpire"),
        ({"authorization": ""}, "AuthFailure.InvalidAuthorization"),
        ({"authorization": "Bearer x"}, "AuthFailure.InvalidAuthorization"),
        ({"action": "DeleteLiveRecords"}, "InvalidAction"),
        ({"action": ""}, "InvalidAction"),
        ({"version": "2017-01-01"}, "NoSuchVersion"),
        ({"body": "{"}, "InvalidParameter"),
        ({"body": "[]"}, "InvalidParameter"),
        ({"body": "{}"}, "MissingParameter"),
        ({"body": '{"StreamName": "a"}'}, "MissingParameter"),
        ({"body": '{"StreamName": "a", "TaskId": "7"}'}, "InvalidParameter"),
        ({"body": '{"StreamName": "a", "TaskId": 7.0}'}, "InvalidParameter"),
        ({"body": '{"StreamName": "a", "TaskId": true}'}, "InvalidParameter"),
        ({"body": '{"StreamName": 1, "TaskId": 7}'}, "InvalidParameter"),
        ({"body": '{"StreamName": "a", "TaskId": 7, "Extra": 1}'}, "UnknownParameter"),
        ({"method": "GET"}, "UnsupportedProtocol"),
    ],
)
def test_a_bad_request_gets_the_services_own_code(api: LiveStandIn, more: dict[str, Any], code: str) -> None:
    assert error_of(post(api, "127.0.0.1", **more)) == code


def test_wrong_credentials_get_the_services_own_codes(api: LiveStandIn) -> None:
    assert code_of(client(api, key="wrong")) == "AuthFailure.SignatureFailure"
    assert code_of(client(api, id="nobody")) == "AuthFailure.SecretIdNotFound"
    assert code_of(client(api, token="old")) == "AuthFailure.TokenFailure"
    assert code_of(client(api, token=None)) == "AuthFailure.TokenFailure"


def test_a_skewed_clock_is_refused() -> None:
    with LiveStandIn(wall=lambda: time.time() + 600) as api:
        assert code_of(client(api)) == "AuthFailure.SignatureExpire"


def test_a_task_belongs_to_its_stream(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    assert code_of(client(api), stream_name="other") == "ResourceNotFound.TaskId"
    assert code_of(client(api), task_id=TASK + 1) == "ResourceNotFound.TaskId"
    delete(client(api))


def test_the_rate_is_limited_in_every_second() -> None:
    with LiveStandIn(qps=5) as api:
        live = client(api)
        codes = [code_of(live) for _ in range(8)]
        assert codes == 5 * ["ResourceNotFound.TaskId"] + 3 * ["RequestLimitExceeded"]
        time.sleep(1.05)
        assert code_of(live) == "ResourceNotFound.TaskId"


# -- the state, which knows no HTTP ------------------------------------------------------------


def timed(clock: FakeClock, **more: Any) -> dict[str, Any]:
    return {"StreamName": STREAM, "StartTime": "2026-11-22 18:00:00", "EndTime": "2026-11-22 20:00:00", **more}


@pytest.fixture
def world() -> tuple[LiveStandIn, FakeClock]:
    clock = FakeClock()
    with LiveStandIn(clock=clock) as stand_in:
        return stand_in, clock


def test_a_timed_task_records_again_at_every_push_until_its_end(world: tuple[LiveStandIn, FakeClock]) -> None:
    state, clock = world[0].state, world[1]
    recording = state.recordings[state.create(timed(clock))["TaskId"]]
    running = []
    for moment in (state.push, state.interrupt, state.push):
        moment(Stream(STREAM))
        running.append(state.running(recording))
    clock.now += 2 * 3600
    running.append(state.running(recording))
    assert running == [True, False, True, False]


def test_deleting_frees_the_quota_and_tomorrow_does_too(world: tuple[LiveStandIn, FakeClock]) -> None:
    state, clock = world[0].state, world[1]
    ids = [state.create(timed(clock, Highlight=1))["TaskId"] for _ in range(TASKS_A_DAY)]
    with pytest.raises(Exception, match="not deleted"):
        state.create(timed(clock, Highlight=1))
    state.delete({"StreamName": STREAM, "TaskId": ids[0]})
    state.create(timed(clock, Highlight=1))
    with pytest.raises(Exception, match="not deleted"):
        state.create(timed(clock, Highlight=1))
    clock.now += 86_400
    state.create(timed(clock, Highlight=1))


def test_no_more_than_so_many_tasks_run(world: tuple[LiveStandIn, FakeClock]) -> None:
    state, clock = world[0].state, world[1]
    state.push(Stream(STREAM))
    for task_id in range(1, RUNNING_TASKS + 1):
        state.add(STREAM, task_id, stopped=False)
    with pytest.raises(Exception, match="are running"):
        state.create(timed(clock))
    state.interrupt(Stream(STREAM))
    state.create(timed(clock))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"StartTime": None}, "StartTime"),
        ({"EndTime": "2026-11-22T20:00:00Z"}, "China time"),
        ({"EndTime": "2026-11-22 17:00:00"}, "after StartTime"),
        ({"StartTime": "2026-11-21 10:00:00", "EndTime": "2026-11-21 12:00:00"}, "after now"),
    ],
)
def test_a_timed_task_needs_times_that_make_sense(
    world: tuple[LiveStandIn, FakeClock], change: dict[str, Any], text: str
) -> None:
    params = {name: value for name, value in timed(world[1], **change).items() if value}
    with pytest.raises(Exception, match=text):
        world[0].state.create(params)
