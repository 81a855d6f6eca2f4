"""What a tutorial would write: one LiveClient, one message after the other; what fails raises."""

from tencentcloud.live.v20180801 import live_client

from bench.peers.common import StreamEnd, log, profile, request_for, who


def main_handler(event, context):
    client = live_client.LiveClient(who(), "", profile())
    for record in event["Records"]:
        message = StreamEnd.model_validate_json(record["Ckafka"]["msgBody"])
        client.DeleteLiveRecord(request_for(message))
        log(message)
