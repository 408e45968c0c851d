"""A cold start of the function: import the handler as Lambda does, answer one direct event. Argument: a file with the event."""

import importlib
import json
import sys
import time
from types import SimpleNamespace

handler = importlib.import_module("app").handler  # the function's folder is on PYTHONPATH
with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - pathlib costs an import
    event = json.load(file)
answers = handler([event], SimpleNamespace(aws_request_id="cold-start", get_remaining_time_in_millis=lambda: 60_000))
print(json.dumps({"done_ns": time.monotonic_ns(), "score": answers[0].get("score")}))
