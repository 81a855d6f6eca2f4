"""The SDK's own asynchronous client, with a semaphore."""

import asyncio

from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.live.v20180801 import live_client_async

from bench.peers.common import StreamEnd, log, profile, request_for, who

IN_FLIGHT = 32


def main_handler(event, context):
    asyncio.run(delete_all(event["Records"]))


async def delete_all(records):
    semaphore = asyncio.Semaphore(IN_FLIGHT)
    async with live_client_async.LiveClient(who(), "", profile()) as client:

        async def delete(record):
            message = StreamEnd.model_validate_json(record["Ckafka"]["msgBody"])
            async with semaphore:
                try:
                    await client.DeleteLiveRecord(request_for(message))
                except TencentCloudSDKException as error:
                    log(message, error)
                    return error
            log(message)
            return None

        errors = [error for error in await asyncio.gather(*map(delete, records)) if error]
    if errors:
        raise errors[0]
