"""The same on Powertools for AWS Lambda: logger, metrics, batch processor (its batches are those of SQS), parser."""

import os

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.parser import BaseModel, parse
from tencentcloud.common import credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import live_client, models

logger = Logger(service="reaper")
metrics = Metrics(namespace="reaper", service="reaper")
processor = BatchProcessor(event_type=EventType.SQS)


class StreamEnd(BaseModel):
    type: str
    stream_name: str
    task_id: int


def new_client():
    who = credential.Credential(
        os.environ["TENCENTCLOUD_SECRETID"],
        os.environ["TENCENTCLOUD_SECRETKEY"],
        os.environ["TENCENTCLOUD_SESSIONTOKEN"],
    )
    protocol, endpoint = os.environ["REAPER_LIVE_ENDPOINT"].split("://")
    http = HttpProfile(protocol=protocol, endpoint=endpoint)
    return live_client.LiveClient(who, "", ClientProfile(httpProfile=http))


def main_handler(event, context):
    client = new_client()

    def delete(record):
        message = parse(event=record.body, model=StreamEnd)
        request = models.DeleteLiveRecordRequest()
        request.StreamName = message.stream_name
        request.TaskId = message.task_id
        response = client.DeleteLiveRecord(request)
        metrics.add_metric(name="Deleted", unit=MetricUnit.Count, value=1)
        logger.info("deleted", task_id=message.task_id, request_id=response.RequestId)

    records = [
        {"messageId": str(number), "body": record["Ckafka"]["msgBody"], "eventSource": "aws:sqs"}
        for number, record in enumerate(event["Records"])
    ]
    answer = process_partial_response(
        event={"Records": records}, record_handler=delete, processor=processor, context=context
    )
    metrics.flush_metrics()
    return answer
