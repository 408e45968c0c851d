"""A cold start of the function to its first answer in the sink: import the handler as Lambda does, answer one SQS batch of one.

Argument: a file with the event. The score is asked for afterwards, in a direct invocation.
"""

import importlib
import json
import sys
import time
from types import SimpleNamespace

handler = importlib.import_module("app").handler  # the function's folder is on PYTHONPATH
with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - pathlib costs an import
    body = file.read().decode()
context = SimpleNamespace(aws_request_id="cold-start", get_remaining_time_in_millis=lambda: 60_000)
response = handler({"Records": [{"messageId": "m", "body": body, "eventSource": "aws:sqs"}]}, context)
done_ns = time.monotonic_ns()
if response != {"batchItemFailures": []}:
    raise SystemExit(f"expected the answer to be delivered, got {response}")
answers = handler([json.loads(body)], context)
print(json.dumps({"done_ns": done_ns, "score": answers[0].get("score")}))
