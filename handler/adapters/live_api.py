"""The Live API: the only file that imports ``tencentcloud``. Batches and retries are not known here.

``CommonClient``, because importing the product client compiles a model file of 52,000 lines. No SDK
retryer, because it reports the first error even if a later try succeeded. Errors are looked for
here, because the SDK overlooks them behind a content type with a charset.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_never

from handler.adapters.credentials import NoCredentialsError, RoleCredentials
from handler.adapters.live_errors import (
    HTTP_STATUS_ERROR,
    NETWORK_ERROR,
    NO_CREDENTIALS,
    UNREADABLE_ANSWER,
    classify,
)
from handler.core.attempt import Reply
from handler.core.entry import Check, Delete
from handler.core.policy import ErrorClass
from handler.masking import without_secrets
from handler.settings import Endpoint

if TYPE_CHECKING:
    from handler.adapters.http_session import HttpSession

API_VERSION = "2018-08-01"
CONNECT_SHARE = 0.3  # of a request's timeout; reading gets the rest, so that both together keep to it
DETAIL_CHARACTERS = 300


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
        self._session: HttpSession | None = None
        self._connecting = threading.Lock()

    def client(self) -> LiveClient:
        """The calling thread's own client."""
        client: LiveClient | None = getattr(self._of_thread, "client", None)
        if client is None:
            client = LiveClient(self._endpoint, self._timeout, self._limit, self._pool())
            self._of_thread.client = client
        return client

    def _pool(self) -> HttpSession:
        """The connections; the SDK is imported for the first request of an instance and not before."""
        with self._connecting:
            if self._session is None:
                _import_sdk()
                from handler.adapters.http_session import SMALL_BYTES, HttpSession

                self._session = HttpSession(SMALL_BYTES)
            return self._session


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

    def send(self, call: Delete | Check) -> Reply:
        """Makes one request. Never raises.

        DeleteLiveRecord (267/30147) deletes the record of a task. DescribeLiveStreamState (267/20470) tells the state
        of a stream: only ``inactive`` is off air, for a forbidden stream may be allowed again.
        """
        match call:
            case Delete(task):
                return self._call("DeleteLiveRecord", {"StreamName": task.stream_name, "TaskId": task.task_id})
            case Check(task, target):
                params = {"DomainName": target.domain_name, "AppName": target.app_name, "StreamName": task.stream_name}
                return _as_check(self._call("DescribeLiveStreamState", params))
            case _:
                assert_never(call)

    def _call(self, action: str, params: dict[str, Any]) -> Reply:
        try:
            return _confirmed(self._sdk.call_json(action, params))
        except NoCredentialsError as error:
            return Reply(ErrorClass.BLOCKED, NO_CREDENTIALS, str(error), sent=False)
        except Exception as error:  # noqa: BLE001  whatever escapes the SDK: a cut body, bad JSON, no envelope
            answer = _refused(error)
            return answer._replace(detail=self._explained(answer.detail))

    def _explained(self, detail: str | None) -> str | None:
        from handler.adapters.http_session import explained

        return detail and explained(detail, self._timeout, self._limit)


def _import_sdk() -> None:
    """Imports the SDK, on the first deletion of an instance and not before."""
    import tencentcloud.common.common_client  # noqa: F401

    # An answer that carries a DeprecatedWarning makes the SDK warn, once per request: 10,000 lines for
    # a full delivery would push ours out of the log.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _confirmed(reply: Any) -> Reply:
    """Success is "no Error and a RequestId", nothing less."""
    response = reply["Response"]
    if "Error" in response:
        error = response["Error"]
        return _refusal(str(error["Code"]), str(error["Message"]), response.get("RequestId"))
    request_id = response["RequestId"]
    if not isinstance(request_id, str) or not request_id:
        raise ValueError("RequestId is empty")
    state = response.get("StreamState")
    off_air = _OFF_AIR.get(state) if isinstance(state, str) else None
    return Reply(request_id=without_secrets(request_id)[:64], off_air=off_air)


# What a check may say (267/20470). Whatever else comes says nothing: the check has failed.
_OFF_AIR = {"active": False, "forbid": False, "inactive": True}


def _as_check(reply: Reply) -> Reply:
    if reply.error_class is not None or reply.off_air is not None:
        return reply
    detail = "the answer names no StreamState that is known"
    return reply._replace(error_class=classify(UNREADABLE_ANSWER), error_code=UNREADABLE_ANSWER, detail=detail)


def _refused(error: Exception) -> Reply:
    from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

    from handler.adapters.http_session import UnreadableBody

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


def _refusal(code: str, message: str, request_id: object = None, ambiguous: bool = False) -> Reply:
    error_class = classify(code)
    answered = request_id is not None
    return Reply(
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
