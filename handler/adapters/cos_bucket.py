"""One prefix of one bucket, through the vendor's SDK. What the objects mean is not known here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosClientError, CosServiceError
from requests.utils import get_environ_proxies

from handler.adapters.credentials import NoCredentialsError, RoleCredentials
from handler.adapters.http_session import LARGE_BYTES, HttpSession, UnreadableBody, explained
from handler.core.storage import LedgerRefused, LedgerUnavailable
from handler.masking import without_secrets
from handler.settings import CosLocation

PAGE = 1_000
TRIES = 3
DETAIL_CHARACTERS = 300
# Statuses that reject this particular request for good. Everything else means that COS is down or access is denied.
_REFUSED = {400, 405, 411, 412, 413, 414, 416}
_ARCHIVED = "InvalidObjectState"  # a 403 that says nothing about other objects


class Bucket:
    """The vendor's SDK, as little of it as is needed: keys are relative to the prefix, errors are the ledger's."""

    def __init__(
        self,
        place: CosLocation,
        session: HttpSession,
        timeout: float,
        sleep: Callable[[float], None],
        random: Callable[[], float],
        limit: float | None = None,
    ) -> None:
        """
        Args:
            place: bucket, prefix and region.
            session: its connections; may outlive the bucket.
            timeout: seconds for one request.
            sleep: takes seconds.
            random: returns a number from 0 to 1; spreads retries.
            limit: seconds of the function's time limit, where ``timeout`` is that short because of it.

        Raises:
            LedgerUnavailable: there are no credentials.
        """
        try:
            secret_id, secret_key, token = RoleCredentials().get_credential_info()
        except NoCredentialsError as error:
            raise LedgerUnavailable(str(error)) from None
        config = CosConfig(
            Region=place.region,
            SecretId=secret_id,
            SecretKey=secret_key,
            Token=token,
            Timeout=timeout,
            **_address(place),
        )
        self._client = _Client(config, retry=0, session=session)
        self._timeout, self._limit = timeout, limit
        self._name, self._prefix = place.bucket, place.prefix
        self._sleep, self._random = sleep, random

    def get(self, key: str) -> bytes | None:
        """What lies at ``key``; None if nothing does.

        Raises:
            LedgerRefused: it can never be read: it is archived, or too large.
            LedgerUnavailable: it cannot be read now.
        """
        try:
            body: bytes = self._ask(self._object, Key=self._prefix + key)
        except _NoSuchKey:
            return None
        return body

    def _object(self, **arguments: Any) -> bytes:
        try:
            return b"".join(self._client.get_object(**arguments)["Body"].get_stream(LARGE_BYTES))
        except CosClientError as error:
            cause = error.__context__
            if isinstance(cause, UnreadableBody) and cause.too_large:
                raise LedgerRefused(f"{arguments['Key']} cannot be read: {cause}") from None
            raise

    def put(self, key: str, body: bytes) -> None:
        self._ask(self._client.put_object, Key=self._prefix + key, Body=body)

    def delete(self, key: str) -> None:
        with suppress(_NoSuchKey):  # it is gone
            self._ask(self._client.delete_object, Key=self._prefix + key)

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Every key below ``prefix``, in order, a page at a time, and when it was written.

        What a console makes for a "folder", a key that ends in a slash, is left out.
        """
        marker = ""
        while True:
            page = self._ask(self._page, Prefix=self._prefix + prefix, Marker=marker, MaxKeys=PAGE)
            for key, written_at in page["keys"]:
                if not key.endswith("/"):
                    yield key.removeprefix(self._prefix), written_at
            if page["next"] is None:
                return
            if page["next"] == marker:  # a key at COS; elsewhere it may be any token
                raise LedgerUnavailable("the ledger cannot be listed: it gives the same page again")
            marker = page["next"]

    def _page(self, **arguments: Any) -> dict[str, Any]:
        page = self._client.list_objects(**arguments)
        if "Name" not in page:
            raise ValueError("it is no listing")
        items = [(item["Key"], item["LastModified"].replace("Z", "+00:00")) for item in page.get("Contents", [])]
        keys = [(key, datetime.fromisoformat(written).timestamp()) for key, written in items]
        return {"keys": keys, "next": page["NextMarker"] if page.get("IsTruncated") == "true" else None}

    def _ask(self, method: Callable[..., Any], **arguments: Any) -> Any:
        missing_is_an_answer = method in (self._object, self._client.delete_object)
        for attempt in range(TRIES):
            try:
                return method(Bucket=self._name, **arguments)
            except LedgerRefused:
                raise
            except CosServiceError as error:
                status, (code, message) = error.get_status_code(), _said(error)
                problem = f"HTTP {status} {code}" + (f" ({message})" if message else "")
                final = _final(status, code, _told(problem))
                if isinstance(final, _NoSuchKey) and not missing_is_an_answer:
                    final = LedgerUnavailable(f"access to the ledger was denied: {_told(problem)}")
                if final:
                    raise final from None
            except CosClientError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001  whatever escapes the SDK: a cut body, an answer that is no XML
                problem = f"{type(error).__name__}: {error}"
            if attempt < TRIES - 1:
                self._sleep(self._random() * 0.2 * 2.0**attempt)
        problem = explained(_told(problem), self._timeout, self._limit)
        raise LedgerUnavailable(f"the ledger cannot be reached: {problem}")


def _final(status: int, code: str, problem: str) -> Exception | None:
    """What an error comes to that another try would not change; None where it may."""
    if status == 404 and code == "NoSuchKey":
        return _NoSuchKey()
    if (status in _REFUSED and code != "RequestTimeout") or (status == 403 and code == _ARCHIVED):
        return LedgerRefused(f"the ledger refuses this: {problem}")
    if status in (401, 403, 404):
        return LedgerUnavailable(f"access to the ledger was denied: {problem}")
    return None


class _Client(CosS3Client):  # type: ignore[misc]
    """The SDK's client takes any status below 400 for success, and returns no status: so it is checked in between."""

    def send_request(self, method: str, url: str, **options: Any) -> Any:
        response = super().send_request(method, url, **options)
        if not _is_from_storage(method, response):
            raise ValueError(f"HTTP {response.status_code} to {method}, but nothing says that storage answered")
        return response


def _is_from_storage(method: str, response: Any) -> bool:
    """Whether COS answered, and not a proxy, a captive portal or a cache with a page of its own.

    COS names every request (436/7729). Other storage that speaks its language, as stand-ins do, may not: there an
    ETag stands for what was stored or read, and 204 for what was deleted. Listings are known by their content.
    """
    if response.headers.get("x-cos-request-id", "").strip():
        return True
    if method == "DELETE":
        return bool(response.status_code == 204)
    is_listing = method == "GET" and "prefix=" in (response.request.url or "")
    return is_listing or re.fullmatch(r'"[^"]+"', response.headers.get("ETag", "")) is not None


def _said(error: CosServiceError) -> tuple[str, str]:
    """Code and message of an error. The SDK finds neither unless the answer has all elements that it looks for."""
    text, fields = str(error.get_origin_msg()), error.get_digest_msg()
    if isinstance(fields, dict):  # from an XML that it understood, or from headers
        return str(fields.get("code", "")), str(fields.get("message", ""))
    found = [re.search(f"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message")]
    code, message = (match[1] if match else "" for match in found)
    return code or "Unknown", message


def _told(problem: str) -> str:
    return without_secrets(problem)[:DETAIL_CHARACTERS]


def _address(place: CosLocation) -> dict[str, Any]:
    if place.endpoint is None:
        proxies = get_environ_proxies(f"https://{place.bucket}.cos.{place.region}.myqcloud.com")
        return {"Scheme": "https", "Proxies": proxies}
    host, _, port = place.endpoint.address.partition(":")
    return {"Scheme": place.endpoint.scheme, "IP": host, "Port": int(port or 80)}


class _NoSuchKey(Exception):
    pass
