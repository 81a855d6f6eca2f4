"""The floor: what pydantic and the SDK's common client cost by themselves, and one call. Nothing is validated.

With BENCH_MODEL, one model is defined as well: that alone makes pydantic load its types.
"""

import os

from pydantic import BaseModel
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

if os.environ.get("BENCH_MODEL"):

    class StreamEnd(BaseModel):
        stream_name: str


class Role:
    def get_credential_info(self):
        return tuple(os.environ[f"TENCENTCLOUD_{name}"] for name in ("SECRETID", "SECRETKEY", "SESSIONTOKEN"))


def main_handler(event, context):
    protocol, endpoint = os.environ["REAPER_LIVE_ENDPOINT"].split("://")
    http = HttpProfile(protocol=protocol, endpoint=endpoint)
    client = CommonClient("live", "2018-08-01", Role(), "", ClientProfile(httpProfile=http))
    client.call_json("DeleteLiveRecord", {"StreamName": "room-1", "TaskId": 1})
    return {"deleted": 1}
