"""The same with a thread pool, and the SDK's own retryer for what is throttled or fails."""

from concurrent.futures import ThreadPoolExecutor

from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.retry import StandardRetryer
from tencentcloud.live.v20180801 import live_client

from bench.peers.common import StreamEnd, log, profile, request_for, who

THREADS = 32


def main_handler(event, context):
    client = live_client.LiveClient(who(), "", profile(retryer=StandardRetryer(max_attempts=5)))

    def delete(record):
        message = StreamEnd.model_validate_json(record["Ckafka"]["msgBody"])
        try:
            client.DeleteLiveRecord(request_for(message))
        except TencentCloudSDKException as error:
            log(message, error)
            return error
        log(message)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        errors = [error for error in pool.map(delete, event["Records"]) if error]
    if errors:
        raise errors[0]
