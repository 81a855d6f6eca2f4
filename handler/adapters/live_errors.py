"""Live error code → class, as data.

Prefixes lie: ``ResourceNotFound.StopService`` is an account without service, not a missing task.
So a code is looked up exactly first, and by family only where no exact entry exists.
Sources: the error lists of DeleteLiveRecord (267/30147) and of all APIs (267/20471), and the SDK.
"""

from __future__ import annotations

from handler.core.policy import ErrorClass

# The API did not say these; the SDK or we did, where no error code came back.
NETWORK_ERROR = "ClientNetworkError"  # the SDK's: refused, reset, timed out
HTTP_STATUS_ERROR = "ServerNetworkError"  # the SDK's: any HTTP status but 200
UNREADABLE_ANSWER = "UnreadableAnswer"  # ours: cut, garbled, or not the API's envelope
NO_CREDENTIALS = "NoCredentials"  # ours: the environment holds none

_EXACT = {
    "ResourceNotFound.TaskId": ErrorClass.GONE,
    "FailedOperation.AlterTaskState": ErrorClass.BUSY,
    "LimitExceeded.RateLimitExceeded": ErrorClass.THROTTLED,
    "InternalError": ErrorClass.TRANSIENT,
    "InternalError.GetConfigError": ErrorClass.TRANSIENT,
    "InternalError.NetworkError": ErrorClass.TRANSIENT,
    "ServiceUnavailable": ErrorClass.TRANSIENT,
    NETWORK_ERROR: ErrorClass.TRANSIENT,
    HTTP_STATUS_ERROR: ErrorClass.TRANSIENT,
    UNREADABLE_ANSWER: ErrorClass.TRANSIENT,
    "ResourceNotFound.ForbidService": ErrorClass.BLOCKED,
    "ResourceNotFound.FreezeService": ErrorClass.BLOCKED,
    "ResourceNotFound.StopService": ErrorClass.BLOCKED,
    "ResourceNotFound.UserDisableService": ErrorClass.BLOCKED,
    "IpInBlacklist": ErrorClass.BLOCKED,
    "IpNotInWhitelist": ErrorClass.BLOCKED,
    "InvalidAction": ErrorClass.BLOCKED,
    "ActionOffline": ErrorClass.BLOCKED,
    "NoSuchProduct": ErrorClass.BLOCKED,
    "NoSuchVersion": ErrorClass.BLOCKED,
    "UnsupportedProtocol": ErrorClass.BLOCKED,
    "UnsupportedRegion": ErrorClass.BLOCKED,
    NO_CREDENTIALS: ErrorClass.BLOCKED,
    "ResourceNotFound.ChannelNotExist": ErrorClass.INVALID,
}

_FAMILIES = {
    "AuthFailure": ErrorClass.BLOCKED,
    "UnauthorizedOperation": ErrorClass.BLOCKED,
    "RequestLimitExceeded": ErrorClass.THROTTLED,
    "InvalidParameter": ErrorClass.INVALID,
    "InvalidParameterValue": ErrorClass.INVALID,
    "MissingParameter": ErrorClass.INVALID,
    "UnknownParameter": ErrorClass.INVALID,
    "UnsupportedOperation": ErrorClass.INVALID,
}


def classify(code: str) -> ErrorClass:
    """The class of a Live error code; UNKNOWN for every code that no rule names."""
    exact = _EXACT.get(code)
    if exact is not None:
        return exact
    return _FAMILIES.get(code.partition(".")[0], ErrorClass.UNKNOWN)
