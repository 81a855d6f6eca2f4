"""The Live API: the only file that imports ``tencentcloud``. Batches and retries are not known here.

``CommonClient``, because importing the product client compiles a model file of 52,000 lines. No SDK
retryer, because it reports the first error even if a later try succeeded. Errors are looked for
here, because the SDK overlooks them behind a content type with a charset.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.credentials import NoCredentials, RoleCredentials, without_secrets
from handler.error_codes import (
    HTTP_STATUS_ERROR,
    NETWORK_ERROR,
    NO_CREDENTIALS,
    UNREADABLE_ANSWER,
    ErrorClass,
    classify,
)
from handler.model import RecordTask
from handler.settings import Endpoint

if TYPE_CHECKING:
    from handler.http_session import HttpSession

API_VERSION = "2018-08-01"
CONNECT_SHARE = 0.3  # of a request's timeout; reading gets the rest, so that both together keep to it
DETAIL_CHARACTERS = 300


class Answer(NamedTuple):
    """What one request came to. ``error_class`` None: the API confirmed.

    ``ambiguous``: no clear refusal came back, so the API may have acted all the same. ``sent``: a request
    was tried at all. ``on_air``: what a look saw; None if it saw nothing.
    """

    error_class: ErrorClass | None = None
    error_code: str | None = None
    detail: str | None = None
    request_id: str | None = None
    ambiguous: bool = False
    sent: bool = True
    on_air: bool | None = None


class LiveApi:
    """One endpoint of the Live API, with a client for each thread, and one pool of connections for all."""

    def __init__(self, endpoint: Endpoint, request_timeout: float, limit: float | None = None) -> None:
        """
        Args:
            endpoint: where the API answers.
            limit: seconds of the function's time limit, where requests are that short because of it.
            request_timeout: seconds for connecting and reading together. A server that trickles can
                hold a request longer, because the SDK's read timeout counts anew for each read.
        """
        self._endpoint = endpoint
        self._timeout, self._limit = request_timeout, limit
        self._of_thread = threading.local()
        _import_sdk()
        from handler.http_session import SMALL_BYTES, HttpSession

        self._session = HttpSession(SMALL_BYTES)

    def client(self) -> LiveClient:
        """The calling thread's own client."""
        client: LiveClient | None = getattr(self._of_thread, "client", None)
        if client is None:
            client = self._of_thread.client = LiveClient(self._endpoint, self._timeout, self._limit, self._session)
        return client


class LiveClient:
    """Calls the Live API, one request at a time."""

    def __init__(self, endpoint: Endpoint, timeout: float, limit: float | None, session: HttpSession) -> None:
        from tencentcloud.common.common_client import CommonClient
        from tencentcloud.common.profile.client_profile import ClientProfile
        from tencentcloud.common.profile.http_profile import HttpProfile

        shares = timeout * CONNECT_SHARE, timeout * (1 - CONNECT_SHARE)
        http = HttpProfile(protocol=endpoint.scheme, endpoint=endpoint.address, reqTimeout=shares)
        self._timeout, self._limit = timeout, limit
        profile = ClientProfile(httpProfile=http, language="en-US")
        self._sdk = CommonClient("live", API_VERSION, RoleCredentials(), "", profile)
        self._sdk.request.conn._session = session  # the SDK has no setting for it

    def delete(self, task: RecordTask) -> Answer:
        """Deletes the record of ``task`` (DeleteLiveRecord, 267/30147). Never raises."""
        return self._call("DeleteLiveRecord", {"StreamName": task.stream_name, "TaskId": task.task_id})

    def is_live(self, domain_name: str, app_name: str, stream_name: str) -> Answer:
        """Looks whether a stream is on air (DescribeLiveStreamState, 267/20470). Never raises.

        Only ``inactive`` is off air: a forbidden stream may be allowed again.
        """
        params = {"DomainName": domain_name, "AppName": app_name, "StreamName": stream_name}
        return self._call("DescribeLiveStreamState", params)

    def _call(self, action: str, params: dict[str, Any]) -> Answer:
        try:
            return _confirmed(self._sdk.call_json(action, params))
        except NoCredentials as error:
            return Answer(ErrorClass.BLOCKED, NO_CREDENTIALS, str(error), sent=False)
        except Exception as error:  # noqa: BLE001  whatever escapes the SDK: a cut body, bad JSON, no envelope
            answer = _refused(error)
            return answer._replace(detail=self._explained(answer.detail))

    def _explained(self, detail: str | None) -> str | None:
        from handler.http_session import explained

        return detail and explained(detail, self._timeout, self._limit)


def _import_sdk() -> None:
    """Imports the SDK, on the first deletion of an instance and not before."""
    import tencentcloud.common.common_client  # noqa: F401

    # An answer that carries a DeprecatedWarning makes the SDK warn, once per request: 10,000 lines for
    # a full delivery would push ours out of the log.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _confirmed(reply: Any) -> Answer:
    """Success is "no Error and a RequestId", nothing less."""
    response = reply["Response"]
    if "Error" in response:
        error = response["Error"]
        return _refusal(str(error["Code"]), str(error["Message"]), response.get("RequestId"))
    request_id = response["RequestId"]
    if not isinstance(request_id, str) or not request_id:
        raise ValueError("RequestId is empty")
    state = response.get("StreamState")
    on_air = None if state is None else state != "inactive"
    return Answer(request_id=without_secrets(request_id)[:64], on_air=on_air)


def _refused(error: Exception) -> Answer:
    from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

    from handler.http_session import UnreadableBody

    if isinstance(error.__context__, UnreadableBody):  # for the SDK it is a failure of the network
        return _refusal(UNREADABLE_ANSWER, str(error.__context__), ambiguous=True)
    if not isinstance(error, TencentCloudSDKException):
        return _refusal(UNREADABLE_ANSWER, f"{type(error).__name__}: {error}", ambiguous=True)
    if error.code == NETWORK_ERROR:
        return _refusal(NETWORK_ERROR, str(error.message), ambiguous=not _never_sent(error.__context__))
    if error.code == HTTP_STATUS_ERROR:
        body = error.message.decode("utf-8", "replace") if isinstance(error.message, bytes) else error.message
        return _refusal(HTTP_STATUS_ERROR, f"HTTP status other than 200: {body}", ambiguous=True)
    return _refusal(str(error.code), str(error.message), error.requestId)


def _refusal(code: str, message: str, request_id: object = None, ambiguous: bool = False) -> Answer:
    error_class = classify(code)
    answered = request_id is not None
    return Answer(
        error_class,
        without_secrets(code)[:128],
        without_secrets(message)[:DETAIL_CHARACTERS],
        without_secrets(str(request_id))[:64] if request_id else None,
        # An internal error may have come after the deletion.
        ambiguous or (answered and error_class in (ErrorClass.TRANSIENT, ErrorClass.UNKNOWN)),
    )


def _never_sent(error: BaseException | None) -> bool:
    """Whether a failure of ``requests`` came before the first byte of the request left."""
    from requests import exceptions
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, (exceptions.ConnectTimeout, exceptions.SSLError)):
        return True
    cause = error.args[0] if isinstance(error, exceptions.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
