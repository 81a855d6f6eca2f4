"""What all peers need alike: the message's model and the request, as the SDK's documentation has them."""

import json
import os
import sys

from pydantic import BaseModel
from tencentcloud.common import credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import models


class StreamEnd(BaseModel):
    type: str
    stream_name: str
    task_id: int


def who():
    names = ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN")
    return credential.Credential(*(os.environ[name] for name in names))


def profile(**more):
    protocol, endpoint = os.environ["REAPER_LIVE_ENDPOINT"].split("://")
    return ClientProfile(httpProfile=HttpProfile(protocol=protocol, endpoint=endpoint), **more)


def request_for(message):
    request = models.DeleteLiveRecordRequest()
    request.StreamName = message.stream_name
    request.TaskId = message.task_id
    return request


def log(message, error=None):
    line = json.dumps({"task_id": message.task_id, "ok": error is None, "error": error and str(error)})
    sys.stdout.write(line + "\n")  # at once: several threads write
