"""A stand-in for the Live API, as far as this project uses it.

``LiveState`` knows what is on air and what is being recorded, and no HTTP; ``LiveStandIn`` serves it
as the service would, to any conforming client, and misbehaves when told to. Where the documents leave
a behaviour open, the obvious reading is taken: see ``LiveState.delete``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import ssl
import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

from local import tc3

API_VERSION = "2018-08-01"
CHINA = timezone(timedelta(hours=8))
TASKS_A_DAY = 4_000
RUNNING_TASKS = 400
REAL_TIME_SECONDS = 1_800
CALLS_PER_SECOND = {"DeleteLiveRecord": 200, "DescribeLiveStreamState": 300}
CALLS_PER_SECOND_OTHERWISE = 200

SECRET_ID, SECRET_KEY, SESSION_TOKEN = "stand-in-id", "stand-in-key", "stand-in-token"


class ApiError(Exception):
    """An answer that is an error; ``code`` is the service's own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# -- the state ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """A stream as DescribeLiveStreamState names it."""

    name: str
    domain: str = "push.example.com"
    app: str = "live"


@dataclass
class Recording:
    """A task made by CreateLiveRecord; times are unix seconds."""

    task_id: int
    stream_name: str
    created: float
    start: float
    end: float
    stopped: bool = False


class LiveState:
    """Streams on air or not, and recording tasks. Not thread-safe: its server takes turns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ids = itertools.count(1_000_001)
        self.recordings: dict[int, Recording] = {}
        self.streams: dict[Stream, str] = {}
        self._on_air: Counter[str] = Counter()  # names: several domains may carry one
        self._of_stream: defaultdict[str, list[Recording]] = defaultdict(list)
        self._created_on: Counter[int] = Counter()

    # The world, which no API call changes.

    def push(self, stream: Stream) -> None:
        """The host starts, or resumes, pushing."""
        self._set(stream, "active")

    def interrupt(self, stream: Stream) -> None:
        """The push breaks off, or ends: nobody can tell."""
        self._set(stream, "inactive")

    def forbid(self, stream: Stream) -> None:
        """The platform's owner forbids the stream."""
        self._set(stream, "forbid")

    def _set(self, stream: Stream, state: str) -> None:
        self._on_air[stream.name] += (state == "active") - (self.streams.get(stream) == "active")
        self.streams[stream] = state

    def add(self, stream_name: str, task_id: int, *, stopped: bool = True) -> Recording:
        """A recording that exists already, by an id of the caller's choice."""
        now = self._clock()
        return self._keep(Recording(task_id, stream_name, created=now, start=now, end=now + 86_400, stopped=stopped))

    def running(self, recording: Recording) -> bool:
        """Whether the task records at this moment: its stream is on air within its time."""
        in_time = recording.start <= self._clock() < recording.end
        return in_time and not recording.stopped and self._on_air[recording.stream_name] > 0

    def _keep(self, recording: Recording) -> Recording:
        self.recordings[recording.task_id] = recording
        self._of_stream[recording.stream_name].append(recording)
        self._created_on[_china_day(recording.created)] += 1
        return recording

    # The API.

    def create(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """CreateLiveRecord (267/30148), with the quotas of 267/30146."""
        now = self._clock()
        if params.get("Highlight") == 1:
            start, end = now, now + REAL_TIME_SECONDS
        else:
            end = _china_time(params, "EndTime")
            start = _china_time(params, "StartTime")
        if end <= max(start, now):
            raise ApiError("InvalidParameter.InvalidTaskTime", "EndTime must be after StartTime and after now.")
        if self._created_on[_china_day(now)] >= TASKS_A_DAY:
            raise ApiError("LimitExceeded.MaximumTask", f"{TASKS_A_DAY} tasks were created today and not deleted.")
        on_air = [name for name, times in self._on_air.items() if times]
        if sum(self.running(known) for name in on_air for known in self._of_stream[name]) >= RUNNING_TASKS:
            raise ApiError("LimitExceeded.MaximumRunningTask", f"{RUNNING_TASKS} tasks are running.")
        recording = self._keep(Recording(next(self._ids), params["StreamName"], now, start, end))
        return {"TaskId": recording.task_id}

    def stop(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """StopLiveRecord (267/30146)."""
        self._find(params).stopped = True
        return {}

    def delete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """DeleteLiveRecord (267/30147).

        Assumed, because undocumented: a running task answers AlterTaskState; an id that is unknown, was
        deleted before, or belongs to another stream answers ResourceNotFound.TaskId.
        """
        recording = self._find(params)
        if self.running(recording):
            raise ApiError("FailedOperation.AlterTaskState", "The task is running.")
        del self.recordings[recording.task_id]
        self._of_stream[recording.stream_name].remove(recording)
        self._created_on[_china_day(recording.created)] -= 1
        return {}

    def describe_stream_state(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """DescribeLiveStreamState (267/20470)."""
        stream = Stream(params["StreamName"], params["DomainName"], params["AppName"])
        return {"StreamState": self.streams.get(stream, "inactive")}

    def _find(self, params: Mapping[str, Any]) -> Recording:
        recording = self.recordings.get(params["TaskId"])
        if recording is None or recording.stream_name != params["StreamName"]:
            raise ApiError("ResourceNotFound.TaskId", "The TaskId does not exist.")
        return recording


def _china_time(params: Mapping[str, Any], name: str) -> float:
    if name not in params:
        raise ApiError("MissingParameter", f"The request is missing a required parameter `{name}`.")
    try:
        moment = datetime.strptime(unquote_plus(params[name]), "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ApiError("InvalidParameter", f"`{name}` must look like 2026-11-22 18:00:00, in China time.") from None
    return moment.replace(tzinfo=CHINA).timestamp()


def _china_day(moment: float) -> int:
    return datetime.fromtimestamp(moment, CHINA).toordinal()


# -- calls -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Action:
    """What a call needs: its method, and its parameters' types; ``required`` ones come first."""

    method: Callable[[LiveState, Mapping[str, Any]], dict[str, Any]]
    required: Mapping[str, type]
    optional: Mapping[str, type] = field(default_factory=dict)


_TASK = {"StreamName": str, "TaskId": int}
ACTIONS = {
    "CreateLiveRecord": Action(
        LiveState.create,
        {"StreamName": str},
        dict.fromkeys(("AppName", "DomainName", "StartTime", "EndTime", "RecordType", "FileFormat", "StreamParam"), str)
        | dict.fromkeys(("Highlight", "MixStream"), int),
    ),
    "StopLiveRecord": Action(LiveState.stop, _TASK),
    "DeleteLiveRecord": Action(LiveState.delete, _TASK),
    "DescribeLiveStreamState": Action(
        LiveState.describe_stream_state, {"AppName": str, "DomainName": str, "StreamName": str}
    ),
}


@dataclass(frozen=True)
class Call:
    """One request that the stand-in received. ``code`` is empty where the answer was no error."""

    at: float
    action: str
    params: Mapping[str, Any]
    code: str
    request_id: str


@dataclass(frozen=True)
class Fault:
    """How to misbehave for a call. What is left at its default is done as usual."""

    error: str = ""  # answer with this code, without acting
    delay: float = 0.0  # seconds, after acting and before answering
    drop: str = ""  # "before" or "after" acting: close the connection without an answer
    status: int = 200
    content_type: str = "application/json"
    body: bytes | None = None  # send this instead of the answer
    cut: bool = False  # announce the whole body, send half of it
    trickle: float = 0.0  # seconds between two bytes of the body
    extra: Mapping[str, Any] = field(default_factory=dict)  # more fields of Response
    headers: Mapping[str, str] = field(default_factory=dict)  # more headers


@dataclass
class _Plan:
    fault: Fault
    times: float
    action: str | None
    task_id: int | None

    def takes(self, action: str, params: Mapping[str, Any]) -> bool:
        return self.times > 0 and self.action in (None, action) and self.task_id in (None, params.get("TaskId"))


class LiveStandIn:
    """Serves a ``LiveState`` on a loopback port. Ready when constructed; a context manager.

    Args:
        port: 0 takes a free one.
        clock: of the state: when tasks start and end.
        wall: of the wire: signatures and rate limits.
        qps: calls per second and action, instead of the service's own limits.
        on_call: is told of every call once it is answered.
        tls: serves HTTPS.
    """

    def __init__(
        self,
        port: int = 0,
        clock: Callable[[], float] = time.time,
        wall: Callable[[], float] = time.time,
        qps: float | None = None,
        on_call: Callable[[Call], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._clock, self.wall, self.qps, self._on_call = clock, wall, qps, on_call
        self.secrets: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self.reset()
        self._server = _Server(("127.0.0.1", port), _handler_for(self))
        if tls:  # the handshake is the connection's own business: it must not hold up the next one
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Forgets all state, calls, faults and added credentials."""
        with self._lock:
            self.state = LiveState(self._clock)
            self.calls: list[Call] = []
            self.headers: list[Mapping[str, str]] = []  # of every request, by lower-case name
            self._plans: list[_Plan] = []
            self.gate: Callable[[str], Fault | None] = lambda _: None  # asked about the action of every call
            self._windows: dict[str, deque[float]] = {}
            self.secrets.clear()
            self.secrets[SECRET_ID] = (SECRET_KEY, SESSION_TOKEN)

    def __enter__(self) -> LiveStandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops serving, and cuts every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def connections(self) -> list[socket.socket]:
        """The connections that are open now."""
        return list(self._server.open)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What to export so that a client finds the stand-in, past any proxy, and is let in."""
        spared = (os.environ.get("NO_PROXY", ""), self.url.removeprefix(f"{self._scheme}://"), "127.0.0.1")
        return {
            "REAPER_LIVE_ENDPOINT": self.url,
            "NO_PROXY": ",".join(filter(None, spared)),  # the SDK wants the port, others do not
            "TENCENTCLOUD_SECRETID": SECRET_ID,
            "TENCENTCLOUD_SECRETKEY": SECRET_KEY,
            "TENCENTCLOUD_SESSIONTOKEN": SESSION_TOKEN,
        }

    def misbehave(
        self, fault: Fault, times: float = 1, *, action: str | None = None, task_id: int | None = None
    ) -> None:
        """Plans ``fault`` for the next ``times`` calls that match; plans are used up in their order."""
        with self._lock:
            self._plans.append(_Plan(fault, times, action, task_id))

    def behave(self) -> None:
        """Forgets all planned faults."""
        with self._lock:
            self._plans.clear()

    def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[dict[str, Any], Fault]:
        """The ``Response`` to one request, and the fault with which to send it."""
        request_id = str(uuid.uuid4())
        action, params, fault, code = headers.get("x-tc-action", ""), _decoded(body), Fault(), ""
        shown = params if isinstance(params, dict) else {}
        gated = self.gate(action)
        with self._lock:
            try:
                self._admit(action, headers, body)
                _check(ACTIONS[action], params)
                fault = gated or self._next_fault(action, shown)
                response = self._act(action, shown, fault)
            except (ApiError, tc3.AuthFailure) as error:
                code = error.code
                response = {"Error": {"Code": code, "Message": str(error)}}
            call = Call(self.wall(), action, shown, code or (fault.drop and f"dropped {fault.drop}"), request_id)
            self.calls.append(call)
        if self._on_call:
            self._on_call(call)
        return {**response, **fault.extra, "RequestId": request_id}, fault

    def _admit(self, action: str, headers: Mapping[str, str], body: bytes) -> None:
        """Raises what the service would answer to a request that may not act."""
        keys = {secret_id: key for secret_id, (key, _) in self.secrets.items()}
        secret_id = tc3.verify(headers, body, keys, self.wall())
        if headers.get("x-tc-token", "") != self.secrets[secret_id][1]:
            raise tc3.AuthFailure("TokenFailure", "The token is invalid or expired.")
        if action not in ACTIONS:
            raise ApiError("InvalidAction", f"The action `{action}` does not exist.")
        if headers.get("x-tc-version") != API_VERSION:
            raise ApiError("NoSuchVersion", f"The version `{headers.get('x-tc-version', '')}` does not exist.")
        self._limit(action)

    def _limit(self, action: str) -> None:
        limit = self.qps or CALLS_PER_SECOND.get(action, CALLS_PER_SECOND_OTHERWISE)
        window, now = self._windows.setdefault(action, deque()), self.wall()
        while window and window[0] <= now - 1:
            window.popleft()
        if len(window) >= limit:
            raise ApiError("RequestLimitExceeded", f"{limit:g} calls per second are allowed for `{action}`.")
        window.append(now)

    def _next_fault(self, action: str, params: Mapping[str, Any]) -> Fault:
        for plan in self._plans:
            if plan.takes(action, params):
                plan.times -= 1
                return plan.fault
        return Fault()

    def _act(self, action: str, params: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        if fault.error:
            raise ApiError(fault.error, "As the stand-in was told.")
        if fault.drop == "before":
            return {}
        return ACTIONS[action].method(self.state, params)


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return None


def _check(action: Action, params: object) -> None:
    if not isinstance(params, dict):
        raise ApiError("InvalidParameter", "The body must be a JSON object.")
    for name in action.required:
        if params.get(name) is None:
            raise ApiError("MissingParameter", f"The request is missing a required parameter `{name}`.")
    types = {**action.required, **action.optional}
    for name, value in params.items():
        if name not in types:
            raise ApiError("UnknownParameter", f"The parameter `{name}` is not recognized.")
        if value is not None and (not isinstance(value, types[name]) or isinstance(value, bool)):
            raise ApiError("InvalidParameter", f"The value type of parameter `{name}` is not valid.")


# -- HTTP --------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.open):
            _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may be faster
        connection.shutdown(socket.SHUT_RDWR)


def _handler_for(stand_in: LiveStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            stand_in.headers.append(headers)
            body = self.rfile.read(int(headers.get("content-length", "0")))
            response, fault = stand_in.answer(headers, body)
            time.sleep(fault.delay)
            if fault.drop:
                self.close_connection = True
                _cut(self.connection)
            else:
                self._send(fault, json.dumps({"Response": response}).encode() if fault.body is None else fault.body)

        def do_GET(self) -> None:
            error = {"Code": "UnsupportedProtocol", "Message": "This stand-in answers POST requests only."}
            self._send(Fault(), json.dumps({"Response": {"Error": error, "RequestId": str(uuid.uuid4())}}).encode())

        def _send(self, fault: Fault, body: bytes) -> None:
            head = (
                f"HTTP/1.1 {fault.status} {self.responses.get(fault.status, ('',))[0]}\r\n"
                f"Content-Type: {fault.content_type}\r\nContent-Length: {len(body)}\r\n"
                + "".join(f"{name}: {value}\r\n" for name, value in fault.headers.items())
                + "\r\n"
            ).encode()
            if fault.cut:
                self.close_connection = True
                body = body[: len(body) // 2]
            if fault.trickle:
                self.wfile.write(head)
                for byte in body:
                    time.sleep(fault.trickle)
                    self.wfile.write(bytes([byte]))
            else:
                self.wfile.write(head + body)  # at once: two small segments would wait for each other

        def log_message(self, *_: object) -> None:
            pass

    return Handler
