"""A stand-in for COS: moto's S3, served, with what COS forbids and moto allows refused.

It can be told to misbehave, and lets its listings lag behind the writes as COS may (436/30614).
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from local.live_api import SECRET_ID, SESSION_TOKEN

BUCKET, REGION = "reaper-1250000000", "ap-guangzhou"
MAX_KEY_BYTES = 850

Start = Callable[..., Any]


@dataclass(frozen=True)
class Request:
    """One request that the stand-in received; ``key`` is empty for a listing. ``status`` 0: not answered."""

    method: str
    key: str
    status: int


@dataclass
class CosFault:
    """How to misbehave. ``status``: refuse with it, ``code`` and ``message``. ``silent``: apply it, but never answer.

    ``body``: what something else than COS answers in its place, with ``headers``, and without acting.
    """

    status: int = 0
    code: str = "Refused"
    message: str = "-"
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    silent: bool = False
    delay: float = 0.0
    times: float = 1
    method: str = ""

    def takes(self, method: str) -> bool:
        return self.times > 0 and self.method in ("", method)


class CosStandIn:
    """One bucket on a loopback port. Ready when constructed; a context manager.

    Args:
        clock: when objects are written.
        lag: seconds by which listings lag behind writes and deletions.
    """

    def __init__(self, port: int = 0, clock: Callable[[], float] = time.time, lag: float = 0.0) -> None:
        self._clock, self.lag = clock, lag
        self._lock = threading.Lock()
        self._moto: Any = create_backend_app("s3")
        self._server = make_server("127.0.0.1", port, self._serve, threaded=True, request_handler=_Quiet)
        self.reset()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self) -> None:
        """Forgets all objects, requests and faults."""
        for backend in s3_backends.values():
            for region in backend.values():
                region.reset()
        s3_backends["123456789012"]["aws"].create_bucket(BUCKET, "us-east-1")
        self.requests: list[Request] = []
        self.faults: list[CosFault] = []
        self.gate: Callable[[str], CosFault | None] = lambda _: None  # asked about the method of every request
        self.gate_of_key: Callable[[str, str], CosFault | None] = lambda *_: None  # about its method and key
        self.locked: set[str] = set()  # keys, relative to the prefix, that nobody may read
        self.archived: set[str] = set()  # and those that a lifecycle rule has archived: they have to be restored first
        self.names_requests = True  # as COS does; other storage that speaks its language may not
        self._written: dict[str, float] = {}
        self._appeared: dict[str, float] = {}  # when a key was first written: another version of it is no news
        self._deleted: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> CosStandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def ledger(self) -> str:
        """The value of REAPER_LEDGER that leads here."""
        return f"cos://{BUCKET}/reaper?region={REGION}&endpoint={self.url}"

    def keys(self, prefix: str = "") -> list[str]:
        """What is stored, without lag; relative to the ledger's prefix."""
        stored = s3_backends["123456789012"]["aws"].buckets[BUCKET].keys
        return sorted(key[7:] for key in stored if key.startswith(f"reaper/{prefix}"))

    def body(self, key: str) -> bytes:
        """One object, by its key relative to the ledger's prefix."""
        stored: Any = s3_backends["123456789012"]["aws"].get_object(BUCKET, f"reaper/{key}")
        return bytes(stored.value)

    def put(self, key: str, body: bytes) -> None:
        """Stores one object without a request, for tests that need many."""
        backend: Any = s3_backends["123456789012"]["aws"]
        backend.put_object(BUCKET, f"reaper/{key}", body)
        self._written[f"reaper/{key}"] = self._clock()
        self._appeared.setdefault(f"reaper/{key}", self._clock())

    def remove(self, key: str) -> None:
        """Takes one object away behind everybody's back."""
        backend: Any = s3_backends["123456789012"]["aws"]
        backend.delete_object(BUCKET, f"reaper/{key}")

    # -- WSGI

    def _serve(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].lstrip("/")
        fault = self.gate(method) or self.gate_of_key(method, key) or self._next_fault(method)
        if fault:
            time.sleep(fault.delay)
        if method == "GET" and key.removeprefix("reaper/") in self.archived:
            fault = fault or CosFault(status=403, code="InvalidObjectState")
        locked = key.removeprefix("reaper/") in self.locked
        refusal = (fault.status if fault else 0) or _refused(environ, key) or 403 * locked
        if fault and fault.body is not None:
            body = [fault.body]
            start(f"{fault.status or 200} -", [*fault.headers, ("Content-Length", str(len(fault.body)))])
        elif refusal:
            body = [_error(fault.code if fault else "Refused", fault.message if fault else "-")]
            self._answer(start, f"{refusal} Refused", [("Content-Type", "application/xml")], body[0])
        else:
            body = self._applied(environ, method, key, start)
        silent = bool(fault and fault.silent)
        with self._lock:
            self.requests.append(Request(method, key, 0 if silent else refusal or 200))
        if silent:
            with contextlib.suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return body

    def _next_fault(self, method: str) -> CosFault | None:
        with self._lock:
            for fault in self.faults:
                if fault.takes(method):
                    fault.times -= 1
                    return fault
        return None

    def _applied(self, environ: dict[str, Any], method: str, key: str, start: Start) -> list[bytes]:
        answered: list[Any] = []
        body = b"".join(self._moto(environ, lambda *given: answered.append(given)))
        with self._lock:
            if method == "PUT":
                self._written[key] = self._clock()
                self._appeared.setdefault(key, self._clock())
                self._deleted.pop(key, None)
            elif method == "DELETE" and key in self._written:
                self._deleted[key] = (self._clock(), self._written.pop(key))
                self._appeared.pop(key, None)
            elif method == "GET" and not key:
                body = self._listing(body, parse_qs(environ["QUERY_STRING"]))
        status, headers = answered[0][:2]
        if status.startswith("404"):
            body = _error(re.findall(r"<Code>(.*?)</Code>", body.decode())[0])
        self._answer(start, status, [(n, v) for n, v in headers if n.lower() != "content-length"], body)
        return [body]

    def _answer(self, start: Start, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        named = [("x-cos-request-id", uuid.uuid4().hex)] if self.names_requests else []
        start(status, [*headers, *named, ("Content-Length", str(len(body)))])

    def _listing(self, body: bytes, query: dict[str, list[str]]) -> bytes:
        """moto's page as COS would show it: with our times, without what is too new, with what is gone too shortly."""
        text, now = body.decode(), self._clock()
        items = {}
        for item in re.findall(r"<Contents>.*?</Contents>", text, re.DOTALL):
            key = unquote(re.findall(r"<Key>(.*?)</Key>", item)[0])
            written = self._written.get(key, now)
            if not self.lag or self._appeared.get(key, now) <= now - self.lag:
                items[key] = re.sub(r"<LastModified>.*?<", f"<LastModified>{_iso(written)}<", item)
        truncated = "<IsTruncated>true" in text
        prefix, marker = query.get("prefix", [""])[0], query.get("marker", [""])[0]
        for key, (gone, written) in self._deleted.items():
            within = key.startswith(prefix) and key > marker and (not truncated or (items and key < max(items)))
            if self.lag and gone > now - self.lag and within:
                items[key] = _CONTENTS.format(quote(key), _iso(written))
        pages = re.split(r"(?:\s*<Contents>.*</Contents>\s*)", text, maxsplit=1, flags=re.DOTALL)
        head, tail = pages if len(pages) == 2 else text.rsplit("</ListBucketResult>", 1)
        tail = tail if len(pages) == 2 else "</ListBucketResult>"
        return (head + "".join(items[key] for key in sorted(items)) + tail).encode()


def _error(code: str, message: str = "-") -> bytes:
    """An error in the form of COS: the SDK reads no code from moto's, which lacks the resource."""
    return _ERROR.format(code, message).encode()


_ERROR = "<Error><Code>{}</Code><Message>{}</Message><Resource>-</Resource><RequestId>-</RequestId></Error>"
_CONTENTS = '<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>""</ETag><Size>0</Size></Contents>'


def _refused(environ: dict[str, Any], key: str) -> int:
    """The status with which COS refuses what moto would let pass."""
    if environ.get("HTTP_HOST", "") != f"{BUCKET}.cos.{REGION}.myqcloud.com":
        return 403  # path-style addressing, or another bucket
    if f"q-ak={SECRET_ID}&" not in environ.get("HTTP_AUTHORIZATION", ""):
        return 403
    if environ.get("HTTP_X_COS_SECURITY_TOKEN") != SESSION_TOKEN:
        return 403
    return 400 if len(key.encode()) > MAX_KEY_BYTES else 0


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass
