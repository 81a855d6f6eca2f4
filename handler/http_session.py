"""One HTTP request after the other, for both SDKs. Neither signatures nor retries are known here.

It stands where the SDKs would use ``requests.Session``, and sends through the same adapter, without what only
a browser needs: a session merges settings, cookies and ``.netrc`` anew for each request, a third of the CPU that
a request takes. And each of them could cost a guarantee here: ``.netrc`` would take the place of the signature,
a redirect would carry the token to another address, and what answers there would pass for the API.

Certificates are loaded once: the adapter would load them for each connection, at 20 ms of CPU and 0.7 MB each.
"""

from __future__ import annotations

import threading
from functools import cache, partialmethod
from ssl import SSLContext
from typing import Any

import certifi
from requests import HTTPError, PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

MOST_CONNECTIONS = 1_024  # that are kept open: more than threads ever use


class HttpSession:
    """A pool of connections for any number of threads, with the methods of ``requests.Session`` that the SDKs call."""

    def __init__(self) -> None:
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
        stream: bool = False,
        verify: bool | str = True,  # noqa: ARG002  certifi's certificates, as both SDKs ask
        allow_redirects: bool = False,  # noqa: ARG002  none is followed
    ) -> Response:
        """As ``requests.Session.request``, but for redirects and for other certificates than certifi's.

        Raises:
            requests.RequestException: no answer came, or one that only points elsewhere.
        """
        request = PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, params)
        request.prepare_headers(headers)
        request.prepare_body(data, None)
        if auth:
            request.prepare_auth(auth, url)
        response = self._adapter.send(request, stream, timeout, proxies=proxies)
        if 300 <= response.status_code < 400:  # the SDK of COS takes it for success
            response.close()
            raise HTTPError(f"HTTP {response.status_code}: a redirect is no answer")
        if not stream:
            response.content  # noqa: B018  reads the body, so that the connection is free for the next request
        return response

    get = partialmethod(request, "GET")
    put = partialmethod(request, "PUT")
    delete = partialmethod(request, "DELETE")


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
