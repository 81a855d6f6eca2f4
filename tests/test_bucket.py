"""What COS, or something in its place, may answer; and what never passes for its word."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from handler.adapters.cos_bucket import Bucket
from handler.adapters.http_session import LARGE_BYTES, HttpSession
from handler.core.storage import LedgerError, LedgerRefused, LedgerUnavailable
from handler.settings import CosLocation, Settings
from local.cos import BUCKET, REGION, CosFault, CosStandIn
from local.live_api import LiveStandIn
from tests.flood import Flood
from tests.support import STREAM, TASK, ckafka, handler_without_waiting, never, run, timer

PAGE = b"<html><body>Please log in to the network</body></html>"
HTML = (("Content-Type", "text/html"),)


@pytest.fixture
def cos(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[CosStandIn]:
    with CosStandIn() as stand_in:
        monkeypatch.setenv("REAPER_LEDGER", stand_in.ledger)
        yield stand_in


def place_of(ledger: str) -> CosLocation:
    place = Settings.read({"REAPER_LEDGER": ledger, "REAPER_DRY_RUN": "true"}).ledger
    assert place
    return place


def bucket_at(ledger: str) -> Bucket:
    return Bucket(place_of(ledger), HttpSession(), 5.0, never, lambda: 0.0)


def bucket_of(flood: Flood) -> Bucket:
    return bucket_at(f"cos://{BUCKET}/reaper?region={REGION}&endpoint=http://{flood.address}")


def listed(bucket: Bucket) -> object:
    return list(bucket.keys("tasks/"))


REQUESTS: dict[str, Callable[[Bucket], object]] = {
    "PUT": lambda bucket: bucket.put("tasks/x", b"new"),
    "GET": lambda bucket: bucket.get("tasks/x"),
    "DELETE": lambda bucket: bucket.delete("tasks/x"),
    "listing": listed,
}

# -- answers that are none ---------------------------------------------------------------------


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PAGE, HTML),
        (b"", ()),
        (b"ok", (("Content-Type", "text/plain"),)),
        (b'{"code": 0}', (("Content-Type", "application/json"), ("Server", "proxy"))),
        (PAGE, (*HTML, ("x-cos-request-id", ""), ("ETag", ""))),
        (PAGE, (*HTML, ("x-cos-request-id", " "), ("ETag", '""'))),
        (PAGE, (*HTML, ("ETag", "unquoted"))),
    ],
    ids=["page", "nothing", "text", "json", "empty names", "blank names", "odd ETag"],
)
def test_a_page_in_place_of_an_answer_is_no_answer(
    cos: CosStandIn, request_: Callable[[Bucket], object], body: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    cos.put("tasks/x", b"old")
    cos.faults.append(CosFault(body=body, headers=headers, times=99))
    with pytest.raises(LedgerUnavailable, match="the ledger cannot be reached"):
        request_(bucket_at(cos.ledger))
    assert cos.body("tasks/x") == b"old"
    assert len(cos.requests) == 3


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
def test_no_status_alone_means_that_something_is_stored(cos: CosStandIn, status: int) -> None:
    cos.faults.append(CosFault(status=status, body=b"", times=99))
    with pytest.raises(LedgerUnavailable):
        bucket_at(cos.ledger).put("tasks/x", b"new")


def test_a_page_now_and_then_costs_no_more_than_another_try(cos: CosStandIn) -> None:
    bucket = bucket_at(cos.ledger)
    for request in REQUESTS.values():
        cos.faults.append(CosFault(body=PAGE, headers=HTML, times=2))
        request(bucket)
    assert len(cos.requests) == 4 * 3


def test_storage_that_does_not_name_its_requests_is_taken_at_its_word(cos: CosStandIn) -> None:
    cos.names_requests = False
    bucket = bucket_at(cos.ledger)
    bucket.put("tasks/x", b"1")
    assert bucket.get("tasks/x") == b"1"
    assert [key for key, _ in bucket.keys("tasks/")] == ["tasks/x"]
    bucket.delete("tasks/x")
    assert bucket.get("tasks/x") is None
    assert len(cos.requests) == 5


@pytest.mark.parametrize("body", [PAGE, b"", b"stored"])
def test_what_a_page_answered_is_not_acknowledged(cos: CosStandIn, api: LiveStandIn, body: bytes) -> None:
    created = {"type": "task-created", "stream_name": STREAM, "task_id": TASK, "expires_at": time.time() + 3600}
    cos.gate = lambda method: CosFault(body=body, headers=HTML) if method == "PUT" else None
    done = run(ckafka(created), None, handler_without_waiting())
    assert done.raised
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert not cos.keys()


def test_a_sweep_whose_listing_is_a_page_says_so(cos: CosStandIn) -> None:
    cos.faults.append(CosFault(body=PAGE, headers=HTML, times=99))
    done = run(timer(), None, handler_without_waiting())
    assert done.raised
    assert done.outcomes == [("deferred", "ledger_unavailable")]


# -- reasons -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "Access Denied."),
        ("AccessDenied", "Request has expired"),
        ("AccessDenied", "This request is denied by the bucket policy"),
        ("SignatureDoesNotMatch", "The Signature you specified is invalid."),
        ("InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records"),
    ],
)
def test_the_reason_of_a_denial_is_shown(cos: CosStandIn, code: str, message: str) -> None:
    cos.faults.append(CosFault(status=403, code=code, message=message, times=99))
    done = run(timer(), None, handler_without_waiting())
    assert done.tasks[0]["detail"] == f"access to the ledger was denied: HTTP 403 {code} ({message})"


@pytest.mark.parametrize(
    ("status", "code", "message", "said"),
    [
        (400, "InvalidArgument", "the key is odd", r"refuses this: HTTP 400 InvalidArgument \(the key is odd\)"),
        (500, "InternalError", "We are sorry", r"cannot be reached: HTTP 500 InternalError \(We are sorry\)"),
        (451, "UnavailableForLegalReasons", "arrears", r"HTTP 451 UnavailableForLegalReasons \(arrears\)"),
        (404, "NoSuchBucket", "no such bucket", r"was denied: HTTP 404 NoSuchBucket \(no such bucket\)"),
    ],
)  # fmt: skip
def test_the_reason_of_any_error_is_shown(cos: CosStandIn, status: int, code: str, message: str, said: str) -> None:
    cos.faults.append(CosFault(status=status, code=code, message=message, times=99))
    with pytest.raises(LedgerError, match=said):
        bucket_at(cos.ledger).get("tasks/x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "HTTP 403 Unknown"),
        (PAGE, "HTTP 403 Unknown"),
        (b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
         "HTTP 403 AccessDenied (Request has expired)"),
        (b"<Error><Code>AccessDenied</Code></Error>", "HTTP 403 AccessDenied"),
        (b'{"code": "AccessDenied", "message": "expired"}', "HTTP 403 AccessDenied (expired)"),
        (b'["AccessDenied"]', "HTTP 403 Unknown"),
    ],
)  # fmt: skip
def test_an_error_that_lacks_something_is_a_denial_all_the_same(cos: CosStandIn, body: bytes, said: str) -> None:
    cos.faults.append(CosFault(status=403, body=body, times=99))
    with pytest.raises(LedgerUnavailable) as caught:
        bucket_at(cos.ledger).get("tasks/x")
    assert str(caught.value) == f"access to the ledger was denied: {said}"


@pytest.mark.parametrize(
    "message", ["key stand-in-token here", "stand%2Din%2dtoken", "q-signature=0123abcd&x", "https://u:0123abcd@h"]
)
def test_the_reason_is_masked(cos: CosStandIn, message: str) -> None:
    cos.faults.append(CosFault(status=403, code="AccessDenied", message=message.replace("&", "&amp;"), times=99))
    done = run(timer(), None, handler_without_waiting())
    assert "***" in done.tasks[0]["detail"]
    assert not re.search("0123abcd|token", done.tasks[0]["detail"])


def test_the_reason_is_cut(cos: CosStandIn) -> None:
    cos.faults.append(CosFault(status=403, code="AccessDenied", message="x" * 5000, times=99))
    done = run(timer(), None, handler_without_waiting())
    assert 300 < len(done.tasks[0]["detail"]) < 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_archived_object_is_no_denial_of_access(cos: CosStandIn, method: str) -> None:
    cos.put("tasks/x", b"old")
    cos.faults.append(CosFault(status=403, code="InvalidObjectState", message="archived", method=method))
    with pytest.raises(LedgerRefused, match=r"InvalidObjectState \(archived\)"):
        REQUESTS[method](bucket_at(cos.ledger))
    assert len(cos.requests) == 1


# -- sizes -------------------------------------------------------------------------------------

CODINGS = ["plain", "chunked", "gzip", "deflate"]


def refusal(flood: Flood, request: Callable[[Bucket], object]) -> LedgerError:
    """The error to which ``request`` comes; what it takes from the wire, and in memory, is bounded."""
    bucket = bucket_of(flood)
    tracemalloc.start()
    try:
        with pytest.raises(LedgerError) as caught:
            request(bucket)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * LARGE_BYTES
    assert flood.sent < 3 * 2.5 * LARGE_BYTES  # tries; what is sent and not read lies in the kernel
    return caught.value


@pytest.mark.parametrize("coding", CODINGS)
def test_an_object_that_is_too_large_can_never_be_read(api: LiveStandIn, coding: str) -> None:
    with Flood(coding) as flood:
        error = refusal(flood, REQUESTS["GET"])
        assert isinstance(error, LedgerRefused)
        assert "more than 16 MB" in str(error)
        assert flood.sent < 2.5 * LARGE_BYTES  # it is not tried again


@pytest.mark.parametrize("coding", ["chunked", "gzip"])
@pytest.mark.parametrize("request_", ["PUT", "DELETE", "listing"])
def test_any_other_answer_that_is_too_large_is_none(api: LiveStandIn, request_: str, coding: str) -> None:
    with Flood(coding) as flood:
        assert isinstance(refusal(flood, REQUESTS[request_]), LedgerUnavailable)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_an_error_is_read_up_to_a_megabyte(api: LiveStandIn, status: int, coding: str) -> None:
    with Flood(coding, status=status) as flood:
        error = refusal(flood, REQUESTS["GET"])
        assert isinstance(error, LedgerUnavailable)
        assert "more than 1 MB" in str(error)
        assert flood.sent < 3 * 25_000_000


def test_an_object_of_many_megabytes_is_read_whole(cos: CosStandIn) -> None:
    bucket = bucket_at(cos.ledger)
    for size in (1_000_001, LARGE_BYTES):
        bucket.put("tasks/x", bytes(size))
        assert bucket.get("tasks/x") == bytes(size)
