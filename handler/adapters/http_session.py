"""One HTTP request after the other, for both SDKs. Neither signatures nor retries are known here.

It stands where the SDKs would use ``requests.Session``, and sends through the same adapter, without what only
a browser needs: a session merges settings, cookies and ``.netrc`` anew for each request, a third of the CPU that
a request takes. And each of them could cost a guarantee here: ``.netrc`` would take the place of the signature,
a redirect would carry the token to another address, and what answers there would pass for the API.

Certificates are loaded once: the adapter would load them for each connection, at 20 ms of CPU and 0.7 MB each.

Answers are read here, up to a limit. The SDKs would read whatever comes, and urllib3 decodes a whole chunk at once.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from functools import cache, partialmethod
from ssl import SSLContext
from typing import Any

import certifi
from requests import HTTPError, PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

MOST_CONNECTIONS = 1_024  # that are kept open: more than threads ever use
SMALL_BYTES = 1_000_000  # of an answer of Live, and of every error
LARGE_BYTES = 16_000_000  # of an object or a listing
_CHUNK_BYTES = 65_536


class UnreadableBody(RequestException):
    """An answer began, and cannot be read to its end. ``too_large``: no error, but it has more bytes than are read."""

    def __init__(self, text: str, too_large: bool = False) -> None:
        super().__init__(text)
        self.too_large = too_large


def explained(detail: str, timeout: float, limit: float | None) -> str:
    """``detail`` of a failure, with what is to be done where the function's own time limit cut the request short.

    Args:
        detail: what the library says.
        timeout: seconds that the request could take.
        limit: seconds of the function's time limit, where ``timeout`` is that short because of it; else None.
    """
    if limit is None or "timed out" not in detail:
        return detail
    return f"{detail}: the function's own time limit of {limit:g} s allows a request {timeout:.2g} s: raise the timeout"


class HttpSession:
    """A pool of connections for any number of threads, with the methods of ``requests.Session`` that the SDKs call."""

    def __init__(self, limit: int = LARGE_BYTES) -> None:
        """
        Args:
            limit: bytes of an answer that are read at most, counted after decoding; of an error ``SMALL_BYTES``.
        """
        self._limit = limit
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=MOST_CONNECTIONS)

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        auth: Any = None,
        timeout: Any = None,
        proxies: Any = None,
        stream: bool = False,  # noqa: ARG002  answers are read at once, so that the connection is free again
        verify: bool | str = True,  # noqa: ARG002  certifi's certificates, as both SDKs ask
        allow_redirects: bool = False,  # noqa: ARG002  none is followed
    ) -> Response:
        """As ``requests.Session.request``, but for redirects and for other certificates than certifi's.

        Raises:
            UnreadableBody: the answer is cut, too large, or in a coding that is not known.
            requests.RequestException: no answer came, or one that only points elsewhere.
        """
        request = PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, params)
        request.prepare_headers(headers)
        request.prepare_body(data, None)
        if auth:
            request.prepare_auth(auth, url)
        response = self._adapter.send(request, stream=True, timeout=timeout, proxies=proxies)
        if 300 <= response.status_code < 400:  # the SDK of COS takes it for success
            response.close()
            raise HTTPError(f"HTTP {response.status_code}: a redirect is no answer")
        limit = self._limit if response.status_code < 400 else min(self._limit, SMALL_BYTES)
        response._content, response._content_consumed = _body(response, limit), True  # as ``content`` would
        response.encoding = response.encoding or "utf-8"  # both services say so in the body; guessing takes long
        return response

    get = partialmethod(request, "GET")
    put = partialmethod(request, "PUT")
    delete = partialmethod(request, "DELETE")


def _body(response: Response, limit: int) -> bytes:
    """The decoded body: of one that is too large, no more than ``limit`` bytes are ever held, and a chunk."""
    try:
        body = b"".join(_decoded(response, limit))
    except Exception as error:
        response.close()
        if isinstance(error, UnreadableBody):
            raise
        raise UnreadableBody(f"{type(error).__name__}: {error}") from error
    return body


def _decoded(response: Response, limit: int) -> Iterator[bytes]:
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise UnreadableBody("its Content-Encoding is not known")
    decoder = None if coding in ("", "identity") else zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's header or zlib's
    size = 0
    for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
        # One byte more than may come shows that there is more. What was not asked for is not decompressed.
        part = decoder.decompress(chunk, limit + 1 - size) if decoder else chunk
        size += len(part)
        if size > limit:
            raise UnreadableBody(
                f"the answer has more than {limit // 1_000_000} MB", too_large=response.status_code == 200
            )
        yield part
        if decoder and decoder.unused_data:
            raise UnreadableBody("something follows what is compressed")
    if decoder and not decoder.eof:
        raise UnreadableBody("what is compressed is cut")


class _Adapter(HTTPAdapter):
    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            tls["ssl_context"] = _certificates()
        return host, tls

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        if proxy.lower().startswith("https"):
            options["proxy_ssl_context"] = _certificates()
        return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Would load them once more; the context of the connection verifies."""


_LOADING = threading.Lock()


def _certificates() -> SSLContext:
    with _LOADING:
        return _load()


@cache
def _load() -> SSLContext:
    context = create_urllib3_context()  # verifies certificate and host name
    context.load_verify_locations(certifi.where())
    return context
