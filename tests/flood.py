"""A server whose answers are far too large: made as they are sent, and stored nowhere."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

MEGABYTE = bytes(1_000_000)


class Flood:
    """Answers every request with ``megabytes``, in the ``coding`` given; a context manager. ``sent``: bytes, so far."""

    def __init__(self, coding: str, megabytes: int = 300, status: int = 200) -> None:
        self.sent = 0
        self.status, self._megabytes, self._coding = status, megabytes, coding
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def headers(self) -> dict[str, str]:
        if self._coding == "plain":
            return {"Content-Length": str(self._megabytes * len(MEGABYTE))}
        coding = {} if self._coding == "chunked" else {"Content-Encoding": self._coding}
        return {"Transfer-Encoding": "chunked", **coding}

    def pieces(self) -> Iterator[bytes]:
        """The body, as it goes over the wire."""
        coder = {"gzip": zlib.compressobj(wbits=31), "deflate": zlib.compressobj()}.get(self._coding)
        for _ in range(self._megabytes):
            yield self._framed(coder.compress(MEGABYTE) if coder else MEGABYTE)
        if self._coding != "plain":
            yield self._framed(coder.flush() if coder else b"") + b"0\r\n\r\n"

    def _framed(self, piece: bytes) -> bytes:
        if self._coding == "plain" or not piece:
            return piece
        return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def _handler_for(flood: Flood) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.close_connection = True
            self.send_response(flood.status)
            for name, value in {"x-cos-request-id": "r", "ETag": '"e"', **flood.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever has had enough goes away
                for piece in flood.pieces():
                    self.wfile.write(piece)
                    flood.sent += len(piece)

        do_GET = do_PUT = do_DELETE = do_POST = _do  # noqa: N815  so the server asks for them

        def log_message(self, *_: object) -> None: ...

    return Handler
