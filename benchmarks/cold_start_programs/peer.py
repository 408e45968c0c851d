"""What is written by hand today, cold: boto3, pydantic, Powertools and ONNX Runtime imported first, the model pulled, not verified.

Argument: a file with the event. Environment: PEER_BUCKET, PEER_KEY, and PEER_FIELDS, a JSON object of the model's fields.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import boto3
import numpy as np
import onnxruntime as ort
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from pydantic import create_model

logger, metrics = Logger(service="peer"), Metrics(namespace="peer", service="peer")
processor = BatchProcessor(event_type=EventType.SQS)
fields = json.loads(os.environ["PEER_FIELDS"])
types: dict[str, Any] = dict.fromkeys(fields["numbers"], (float | None, None))
types |= dict.fromkeys(fields["categories"], (str | None, None))
Event = create_model("Event", **types)
answer = boto3.client("s3").get_object(Bucket=os.environ["PEER_BUCKET"], Key=os.environ["PEER_KEY"])
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(answer["Body"].read(), options, providers=["CPUExecutionProvider"])

event = Event.model_validate_json(Path(sys.argv[1]).read_bytes())
inputs: dict[str, Any] = {}
if fields["numbers"]:
    inputs["numbers"] = np.array([[getattr(event, name) for name in fields["numbers"]]], dtype=np.float64)
if fields["categories"]:
    inputs["categories"] = np.array([[getattr(event, name) or "" for name in fields["categories"]]], dtype=object)
score = float(session.run(["score"], inputs)[0][0])
metrics.add_metric(name="Scored", unit=MetricUnit.Count, value=1)
metrics.flush_metrics()
print(json.dumps({"done_ns": time.monotonic_ns(), "score": score}))
