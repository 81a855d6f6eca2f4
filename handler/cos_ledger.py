"""The ledger on COS: one bucket prefix is the whole state. Live is not known here.

    tasks/<h>/<task_id>.json             the truth about one task
    due/<minute>/<h>/<task_id>-<nonce>   a pointer, so that "what is due?" lists only what is due
    dead/<day>/<h>-<task_id>.json        a dead letter: every error, and the message
    dead/<day>/message-<hash>.json       a rejected message, whole

``<h>`` is the first 32 hex digits of the stream name's SHA-256: COS limits keys to 850 bytes and
discourages characters that names may have. COS has no compare-and-swap to rely on, and its listings
may lag a write (436/30614), so the order of writes carries the guarantee:

- schedule: put the pointer, then the truth, which names it, then delete the old pointer;
- settle: delete the truth, then the pointer; bury: put the dead letter first;
- a pointer whose truth is missing, or names another one and is not due, is stale. It is removed only
  when it was written so long ago that its writer cannot still be between its two puts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosClientError, CosServiceError
from requests import Session
from requests.adapters import HTTPAdapter

from handler.credentials import NoCredentials, RoleCredentials, without_secrets
from handler.ledger import Entry, Failure, LedgerRefused, LedgerUnavailable, Pointer
from handler.model import RecordTask, Result
from handler.settings import Place

STALE_AFTER_SECONDS = 1_200.0  # a function runs for 900 s at most (583/11637)
PAGE = 1_000
TRIES = 3
DETAIL_CHARACTERS = 300
# Not what is wrong with one write: nobody, or not we, can write at all.
_UNAVAILABLE = {401, 403, 404, 408, 429}
_POINTER = re.compile(r"due/(\d{12})/([0-9a-f]{32})/(\d{1,19})-[0-9a-f]+")


def new_session(connections: int) -> Session:
    """A pool of connections for so many threads; may outlive the ledgers that use it."""
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=connections))
    return session


class CosLedger:
    """A ledger below one prefix of one bucket. Its methods may be called from several threads."""

    keeps = True

    def __init__(self, bucket: Bucket, random: Callable[[], float]) -> None:
        """
        Args:
            bucket: where it is kept; tools that look into it find it under this name.
            random: returns a number from 0 to 1; makes the keys of pointers unique.
        """
        self.bucket = bucket
        self._random = random

    # -- one task

    def read(self, task: RecordTask) -> Entry | None:
        body = self.bucket.get(_truth(task))
        return None if body is None else entry_of(body)

    def of_stream(self, stream_name: str) -> list[Entry]:
        keys = [key for key, _ in self.bucket.keys(f"tasks/{_digest(stream_name)}/")]
        bodies = [self.bucket.get(key) for key in keys]
        return [entry_of(body) for body in bodies if body is not None]

    def write(self, entry: Entry) -> Entry:
        written = replace(entry, index=self._new_pointer(entry))
        if written.index:
            self.bucket.put(written.index, b"")
        self.bucket.put(_truth(entry.task), _body(fields_of(written)))
        if entry.index:
            self.bucket.delete(entry.index)
        return written

    def settle(self, entry: Entry) -> None:
        self.bucket.delete(_truth(entry.task))
        if entry.index:
            self.bucket.delete(entry.index)

    def _new_pointer(self, entry: Entry) -> str | None:
        if entry.due_at is None:
            return None
        minute = _moment(entry.due_at, "%Y%m%d%H%M")
        nonce = f"{int(self._random() * 16**8):08x}"
        return f"due/{minute}/{_digest(entry.task.stream_name)}/{entry.task.task_id}-{nonce}"

    # -- dead letters

    def bury(self, entry: Entry, result: Result, now: float) -> None:
        letter = {
            "stream_name": entry.task.stream_name,
            "task_id": str(entry.task.task_id),
            "reason": result.reason,
            "detail": result.detail,
            "message": entry.because,
            "errors": [asdict(failure) for failure in entry.failures],
            "first_due_at": entry.first_due_at,
            "died_at": now,
            "entry": fields_of(entry),
        }
        name = f"{_digest(entry.task.stream_name)}-{entry.task.task_id}"
        self.bucket.put(f"dead/{_moment(now, '%Y%m%d')}/{name}.json", _body(letter))
        self.settle(entry)

    def bury_message(self, message_id: str, body: object, details: list[str], now: float) -> None:
        letter = _body({"message_id": message_id, "details": details, "died_at": now, "body": body})
        digest = hashlib.sha256(message_id.encode(errors="replace")).hexdigest()[:32]
        self.bucket.put(f"dead/{_moment(now, '%Y%m%d')}/message-{digest}.json", letter)

    # -- what is due

    def pointers(self, now: float) -> Iterator[Pointer]:
        this_minute = _moment(now, "%Y%m%d%H%M")
        for key, written_at in self.bucket.keys("due/"):
            match = _POINTER.fullmatch(key)
            if match is None:
                continue
            if match[1] > this_minute:
                return
            due_at = datetime.strptime(match[1] + "+0000", "%Y%m%d%H%M%z").timestamp()
            yield Pointer(key, due_at, written_at)

    def follow(self, pointer: Pointer, now: float) -> Entry | None:
        _, _, digest, name = pointer.key.split("/")
        body = self.bucket.get(f"tasks/{digest}/{name.partition('-')[0]}.json")
        entry = None if body is None else entry_of(body)
        if entry is not None and entry.due_at is not None and entry.due_at <= now:
            return entry
        stale = entry is None or entry.index != pointer.key
        if stale and pointer.written_at < now - STALE_AFTER_SECONDS:
            self.bucket.delete(pointer.key)
        return None


def _digest(stream_name: str) -> str:
    return hashlib.sha256(stream_name.encode()).hexdigest()[:32]


def _truth(task: RecordTask) -> str:
    return f"tasks/{_digest(task.stream_name)}/{task.task_id}.json"


def _moment(at: float, form: str) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime(form)


def _body(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, default=repr).encode()


def fields_of(entry: Entry) -> dict[str, Any]:
    """What an object below ``tasks/`` holds."""
    return {**asdict(entry), "task": entry.task._asdict()}


def entry_of(body: bytes) -> Entry:
    """The entry that an object below ``tasks/`` holds."""
    try:
        fields = json.loads(body)
        task = RecordTask(**fields.pop("task"))
        failures = tuple(Failure(**failure) for failure in fields.pop("failures"))
        return Entry(task=task, failures=failures, **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerRefused(f"an entry of the ledger cannot be read: {error}") from None


class Bucket:
    """The vendor's SDK, as little of it as is needed: keys are relative to the prefix, errors are the ledger's."""

    def __init__(
        self,
        place: Place,
        session: Session,
        timeout: float,
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        """
        Args:
            place: bucket, prefix and region.
            session: from ``new_session``.
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
        try:
            answer = self._ask(self._client.get_object, Key=self._prefix + key)
        except _Missing:
            return None
        return bytes(answer["Body"].get_raw_stream().read())

    def put(self, key: str, body: bytes) -> None:
        self._ask(self._client.put_object, Key=self._prefix + key, Body=body)

    def delete(self, key: str) -> None:
        self._ask(self._client.delete_object, Key=self._prefix + key)

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Every key below ``prefix``, in order, a page at a time, and when it was written."""
        marker = ""
        while True:
            page = self._ask(self._client.list_objects, Prefix=self._prefix + prefix, Marker=marker, MaxKeys=PAGE)
            for item in page.get("Contents", []):
                written = datetime.fromisoformat(item["LastModified"].replace("Z", "+00:00"))
                yield item["Key"].removeprefix(self._prefix), written.timestamp()
            if page.get("IsTruncated") != "true":
                return
            marker = page["NextMarker"]

    def _ask(self, method: Callable[..., Any], **arguments: Any) -> Any:
        for attempt in range(TRIES):
            try:
                return method(Bucket=self._name, **arguments)
            except CosServiceError as error:
                status, problem = error.get_status_code(), f"HTTP {error.get_status_code()} {error.get_error_code()}"
                if status == 404 and error.get_error_code() != "NoSuchBucket":
                    raise _Missing from None
                if status < 500 and status != 429:
                    raise _problem(status, problem) from None
            except CosClientError as error:
                problem = str(error)
            if attempt < TRIES - 1:
                self._sleep(self._random() * 0.2 * 2.0**attempt)
        raise LedgerUnavailable(f"the ledger cannot be reached: {without_secrets(problem)[:DETAIL_CHARACTERS]}")


def _address(place: Place) -> dict[str, Any]:
    if place.endpoint is None:
        return {"Scheme": "https"}
    host, _, port = place.endpoint.address.partition(":")
    return {"Scheme": place.endpoint.scheme, "IP": host, "Port": int(port or 80)}


class _Missing(Exception):
    pass


def _problem(status: int, problem: str) -> LedgerUnavailable | LedgerRefused:
    if status in _UNAVAILABLE:
        return LedgerUnavailable(f"the ledger lets nobody in: {problem}")
    return LedgerRefused(f"the ledger refuses this: {problem}")
