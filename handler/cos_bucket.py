"""One prefix of one bucket, through the vendor's SDK. What the objects mean is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosClientError, CosServiceError
from requests.utils import get_environ_proxies

from handler.credentials import NoCredentials, RoleCredentials, without_secrets
from handler.http_session import HttpSession
from handler.ledger import LedgerRefused, LedgerUnavailable
from handler.settings import Place

PAGE = 1_000
TRIES = 3
DETAIL_CHARACTERS = 300
# What is wrong with one request, and will be so again; all else says that nobody, or not we, can read or write.
_REFUSED = {400, 405, 411, 412, 413, 414, 416}


class Bucket:
    """The vendor's SDK, as little of it as is needed: keys are relative to the prefix, errors are the ledger's."""

    def __init__(
        self,
        place: Place,
        session: HttpSession,
        timeout: float,
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        """
        Args:
            place: bucket, prefix and region.
            session: its connections; may outlive the bucket.
            timeout: seconds for one request.
            sleep: takes seconds.
            random: returns a number from 0 to 1; spreads retries.

        Raises:
            LedgerUnavailable: there are no credentials.
        """
        try:
            secret_id, secret_key, token = RoleCredentials().get_credential_info()
        except NoCredentials as error:
            raise LedgerUnavailable(str(error)) from None
        config = CosConfig(
            Region=place.region,
            SecretId=secret_id,
            SecretKey=secret_key,
            Token=token,
            Timeout=timeout,
            **_address(place),
        )
        self._client = CosS3Client(config, retry=0, session=session)
        self._name, self._prefix = place.bucket, place.prefix
        self._sleep, self._random = sleep, random

    def get(self, key: str) -> bytes | None:
        """What lies at ``key``; None if nothing does."""

        def whole(**arguments: Any) -> bytes:
            return bytes(self._client.get_object(**arguments)["Body"].get_raw_stream().read())

        try:
            body: bytes = self._ask(whole, Key=self._prefix + key)
        except _NoSuchKey:
            return None
        return body

    def put(self, key: str, body: bytes) -> None:
        self._ask(self._client.put_object, Key=self._prefix + key, Body=body)

    def delete(self, key: str) -> None:
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
            if page["next"] <= marker:
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
        for attempt in range(TRIES):
            try:
                return method(Bucket=self._name, **arguments)
            except CosServiceError as error:
                status, code = error.get_status_code(), str(error.get_error_code())
                problem = f"HTTP {status} {code}"
                if status == 404 and code == "NoSuchKey":
                    raise _NoSuchKey from None
                if status in _REFUSED and code != "RequestTimeout":
                    raise LedgerRefused(f"the ledger refuses this: {_told(problem)}") from None
                if status in (401, 403, 404):
                    raise LedgerUnavailable(f"the ledger lets nobody in: {_told(problem)}") from None
            except CosClientError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001  whatever escapes the SDK: a cut body, an answer that is no XML
                problem = f"{type(error).__name__}: {error}"
            if attempt < TRIES - 1:
                self._sleep(self._random() * 0.2 * 2.0**attempt)
        raise LedgerUnavailable(f"the ledger cannot be reached: {_told(problem)}")


def _told(problem: str) -> str:
    return without_secrets(problem)[:DETAIL_CHARACTERS]


def _address(place: Place) -> dict[str, Any]:
    if place.endpoint is None:
        proxies = get_environ_proxies(f"https://{place.bucket}.cos.{place.region}.myqcloud.com")
        return {"Scheme": "https", "Proxies": proxies}
    host, _, port = place.endpoint.address.partition(":")
    return {"Scheme": place.endpoint.scheme, "IP": host, "Port": int(port or 80)}


class _NoSuchKey(Exception):
    pass
