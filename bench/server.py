"""The stand-ins in a process of their own, so that what is measured does not share its processor time with them."""

from __future__ import annotations

import bisect
import gc
import multiprocessing
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from bench.tasks import stream_of
from local.cos import BUCKET, REGION
from local.live_api import Fault, LiveStandIn


class Stats(NamedTuple):
    """Every call as (unix seconds, the part of the stream's name before the first dash, error code); what is left."""

    calls: list[tuple[float, str, str]]
    left: set[int]
    cos_requests: int


class Server:
    """Runs the stand-ins; a context manager. ``environment`` leads a handler to the Live API, ``ledger`` to COS."""

    def __enter__(self) -> Server:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self.environment, self.ledger = self._connection.recv()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.send(None)
        self._process.join(5)
        self._process.terminate()

    def reset(self, tasks: dict[str, range], qps: float, latency: float, cos_latency: float = 0.0) -> None:
        """Forgets all; then these tasks exist, each in a stream named after its group and its id."""
        self._ask("reset", tasks, qps, latency, cos_latency)

    def stats(self) -> Stats:
        """What was asked since."""
        return Stats(*self._ask("stats"))

    def store(self, prefix: str, bodies: dict[str, bytes]) -> None:
        """Puts objects into the bucket without any request."""
        self._ask("store", prefix, bodies)

    def _ask(self, *request: Any) -> Any:
        self._connection.send(request)
        return self._connection.recv()


def _serve(connection: Connection) -> None:
    gc.disable()
    cos = Bucket()
    with LiveStandIn(qps=1e9) as api:
        connection.send((api.environment | {"REAPER_DRY_RUN": "false"}, cos.ledger))
        while (request := connection.recv()) is not None:
            what, *arguments = request
            if what == "reset":
                tasks, qps, latency, cos.latency = arguments
                api.reset()
                cos.reset()
                api.qps, fault = qps, Fault(delay=latency)
                api.gate = lambda _, fault=fault: fault  # type: ignore[misc]
                for group, ids in tasks.items():
                    for task_id in ids:
                        api.state.add(stream_of(group, task_id), task_id)
                connection.send(None)
            elif what == "store":
                prefix, bodies = arguments
                cos.objects.update({f"{prefix}{key}": (body, time.time()) for key, body in bodies.items()})
                cos.names = sorted(cos.objects)
                connection.send(None)
            else:
                names = (call.params.get("StreamName", "").partition("-")[0] for call in api.calls)
                calls = [(call.at, name, call.code) for call, name in zip(api.calls, names, strict=True)]
                connection.send((calls, set(api.state.recordings), cos.requests))


class Bucket:
    """As much of COS as the ledger uses, from a dict: moto would be what is measured."""

    def __init__(self) -> None:
        self.latency = 0.0
        self._lock = threading.Lock()
        self.reset()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def ledger(self) -> str:
        return f"cos://{BUCKET}/reaper?region={REGION}&endpoint=http://127.0.0.1:{self._server.server_address[1]}"

    def reset(self) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.names: list[str] = []
        self.requests = 0

    def do(self, method: str, key: str, body: bytes, query: dict[str, list[str]]) -> tuple[int, bytes]:
        with self._lock:
            self.requests += 1
            if method == "PUT":
                if key not in self.objects:
                    bisect.insort(self.names, key)
                self.objects[key] = (body, time.time())
                return 200, b""
            if method == "DELETE":
                if self.objects.pop(key, None):
                    self.names.pop(bisect.bisect_left(self.names, key))
                return 204, b""
            if key:
                found = self.objects.get(key)
                return (200, found[0]) if found else (404, b"<Error><Code>NoSuchKey</Code><Message>-</Message>"
                    b"<Resource>-</Resource><RequestId>-</RequestId></Error>")  # fmt: skip
            return 200, self._page(query.get("prefix", [""])[0], query.get("marker", [""])[0])

    def _page(self, prefix: str, marker: str) -> bytes:
        first = bisect.bisect_right(self.names, max(prefix, marker) if marker else prefix)
        first = bisect.bisect_left(self.names, prefix) if not marker else first
        names = [name for name in self.names[first : first + 1_001] if name.startswith(prefix)]
        page, more = names[:1_000], len(names) > 1_000
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>{_iso(self.objects[name][1])}</LastModified></Contents>"
            for name in page
        )
        after = f"<NextMarker>{escape(page[-1])}</NextMarker>" if more else ""
        head = f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{str(more).lower()}</IsTruncated>{after}"
        return f"{head}{items}</ListBucketResult>".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """A client that went away is no error."""


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))


def _handler_for(bucket: Bucket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _do(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            query = parse_qs(url.query)
            status, answer = bucket.do(self.command, unquote(url.path).lstrip("/"), body, query)
            time.sleep(bucket.latency)
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/xml\r\nx-cos-request-id: -\r\n"
            self.wfile.write(f"{head}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)

        do_GET = do_PUT = do_DELETE = _do  # noqa: N815  so the server asks for them

        def log_message(self, *_: object) -> None: ...

    return Handler
