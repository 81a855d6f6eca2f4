"""The handler that a tutorial would write: the product client, a pydantic model, a loop over the records."""

import json
import os

from pydantic import BaseModel
from tencentcloud.common import credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import live_client, models


class StreamEnd(BaseModel):
    type: str
    stream_name: str
    task_id: int


def main_handler(event, context):
    who = credential.Credential(
        os.environ["TENCENTCLOUD_SECRETID"],
        os.environ["TENCENTCLOUD_SECRETKEY"],
        os.environ["TENCENTCLOUD_SESSIONTOKEN"],
    )
    protocol, endpoint = os.environ["REAPER_LIVE_ENDPOINT"].split("://")
    http = HttpProfile(protocol=protocol, endpoint=endpoint)
    client = live_client.LiveClient(who, "", ClientProfile(httpProfile=http))
    deleted = 0
    for record in event["Records"]:
        message = StreamEnd.model_validate_json(record["Ckafka"]["msgBody"])
        request = models.DeleteLiveRecordRequest()
        request.StreamName = message.stream_name
        request.TaskId = message.task_id
        response = client.DeleteLiveRecord(request)
        print(json.dumps({"deleted": message.task_id, "request_id": response.RequestId}))
        deleted += 1
    return {"deleted": deleted}
