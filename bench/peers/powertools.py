"""Powertools for AWS Lambda: its batch processor (whose batches are those of SQS) and its parser, and LiveClient."""

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.parser import parse
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.live.v20180801 import live_client

from bench.peers.common import StreamEnd, log, profile, request_for, who

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def main_handler(event, context):
    client = live_client.LiveClient(who(), "", profile())

    def delete(record):
        message = parse(event=record.body, model=StreamEnd)
        try:
            client.DeleteLiveRecord(request_for(message))
        except TencentCloudSDKException as error:
            log(message, error)
            raise
        log(message)

    records = [
        {"messageId": str(number), "body": record["Ckafka"]["msgBody"], "eventSource": "aws:sqs"}
        for number, record in enumerate(event["Records"])
    ]
    answer = process_partial_response(event={"Records": records}, record_handler=delete, processor=processor)
    if answer["batchItemFailures"]:
        raise RuntimeError("CKafka knows no partial answer: the whole batch again")
