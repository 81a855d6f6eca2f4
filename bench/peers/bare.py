"""No peer but a yardstick: a bare loop of CommonClient.call_json on as many threads as ours has, and nothing else."""

import json
import sys
import threading
from queue import Empty, SimpleQueue

from tencentcloud.common.common_client import CommonClient

from bench.peers.common import profile, who

THREADS = 32


def main_handler(event, context):
    todo = SimpleQueue()
    for record in event["Records"]:
        todo.put(json.loads(record["Ckafka"]["msgBody"]))
    done = []

    def work():
        client = CommonClient("live", "2018-08-01", who(), "", profile())
        while True:
            try:
                task = todo.get_nowait()
            except Empty:
                return
            client.call_json("DeleteLiveRecord", {"StreamName": task["stream_name"], "TaskId": task["task_id"]})
            done.append(task["task_id"])

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for task_id in done:
        sys.stdout.write(json.dumps({"task_id": task_id, "ok": True}) + "\n")
