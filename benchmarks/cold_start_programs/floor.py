"""What no design can do without, cold: python, numpy, ONNX Runtime, a session from a local file, one run.

Arguments: a file with the event, the graph, a file with the model's fields as for the peer.
"""

import json
import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort

with open(sys.argv[1], "rb") as event_file, open(sys.argv[3], "rb") as fields_file:  # noqa: PTH123 - pathlib costs an import
    event, fields = json.load(event_file), json.load(fields_file)
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
inputs = {}
if fields["numbers"]:
    inputs["numbers"] = np.array([[event.get(name) for name in fields["numbers"]]], dtype=np.float64)
if fields["categories"]:
    inputs["categories"] = np.array([[event.get(name) or "" for name in fields["categories"]]], dtype=object)
score = float(session.run(["score"], inputs)[0][0])
print(json.dumps({"done_ns": time.monotonic_ns(), "score": score}))
