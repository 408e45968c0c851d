"""The metrics that CloudWatch would have by itself, for a stack in ministack: out of its log lines, and of its queues."""

from typing import Any

from eventscore_local.deployment import Deployment
from eventscore_local.emf import MetricForwarder
from eventscore_local.ministack import Ministack

_QUEUE_METRICS = {"ApproximateNumberOfMessages": "ApproximateNumberOfMessagesVisible"}
_WATCHED_QUEUES = ("EventDeadLetterQueueUrl", "StreamFailureQueueUrl")
"""Those that an alarm looks at. Of others nothing is put: ministack's alarms know a metric's name, but not its dimensions."""
_OVERLAP_MS = 60_000


class StackMetrics:
    """Puts what the stack's function wrote in the embedded metric format, and how deep the queues are that alarms look at."""

    def __init__(self, aws: Ministack, deployment: Deployment) -> None:
        self._logs = aws.client("logs")
        self._sqs = aws.client("sqs")
        self._cloudwatch = aws.client("cloudwatch")
        self._forwarder = MetricForwarder(self._cloudwatch)
        self._log_group = deployment.outputs["ScoreLogGroupName"]
        self._queues = [url for name, url in deployment.outputs.items() if name in _WATCHED_QUEUES]
        self._read: set[str] = set()
        self._since_ms = 0

    def collect(self) -> list[str]:
        """Put what is new to CloudWatch; returns the log lines that are new."""
        lines = self._new_lines()
        for line in lines:
            self._forwarder.add(line)
        self._forwarder.flush()
        for url in self._queues:
            attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_QUEUE_METRICS))["Attributes"]
            self._cloudwatch.put_metric_data(
                Namespace="AWS/SQS",
                MetricData=[
                    {
                        "MetricName": metric,
                        "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                        "Value": float(attributes[attribute]),
                        "Unit": "Count",
                    }
                    for attribute, metric in _QUEUE_METRICS.items()
                ],
            )
        return lines

    def _new_lines(self) -> list[str]:
        """Lines of the log streams that have not been read: ministack writes one at the end of each invocation, whole."""
        pages = self._logs.get_paginator("filter_log_events")
        found = pages.paginate(
            logGroupName=self._log_group, startTime=max(0, self._since_ms - _OVERLAP_MS)
        ).build_full_result()
        events: list[dict[str, Any]] = [one for one in found["events"] if one["logStreamName"] not in self._read]
        for one in events:
            self._since_ms = max(self._since_ms, one["timestamp"])
        self._read |= {one["logStreamName"] for one in events}
        return [one["message"] for one in events]
