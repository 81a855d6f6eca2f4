"""One HTTP request after the other, for both SDKs. Neither signatures nor retries are known here.

It stands where the SDKs would use ``requests.Session``, and sends through the same adapter, without what only
a browser needs: a session merges settings, cookies and ``.netrc`` anew for each request, a third of the CPU that
a request takes. And each of them could cost a guarantee here: ``.netrc`` would take the place of the signature,
a redirect would carry the token to another address, and what answers there would pass for the API.
"""

from __future__ import annotations

from functools import partialmethod
from typing import Any

from requests import HTTPError, PreparedRequest, Response
from requests.adapters import HTTPAdapter


class HttpSession:
    """A pool of connections for so many threads; has the methods of ``requests.Session`` that the SDKs call."""

    def __init__(self, connections: int) -> None:
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections)

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
        verify: bool | str = True,
        allow_redirects: bool = False,  # noqa: ARG002  none is followed
    ) -> Response:
        """As ``requests.Session.request``, but for redirects.

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
        response = self._adapter.send(request, stream, timeout, verify, proxies=proxies)
        if 300 <= response.status_code < 400:  # the SDK of COS takes it for success
            raise HTTPError(f"HTTP {response.status_code}: a redirect is no answer")
        if not stream:
            response.content  # noqa: B018  reads the body, so that the connection is free for the next request
        return response

    get = partialmethod(request, "GET")
    put = partialmethod(request, "PUT")
    delete = partialmethod(request, "DELETE")
