"""Event source mappings: what stands between a source and the function on AWS, and what no emulator does faithfully.

- `mapping`: what all mappings have in common: start, stop, idle, counts.
- `invocation_events`: records as Lambda hands them to a function.
- `batching`: when a batch is closed: full, window over, or 6 MB.
- `partial_batch`: which records of a batch a response says have failed.
- `ordered_delivery`: retries, bisection and checkpoints of ordered records (Kinesis, Kafka).
- `on_failure`: where discarded records are reported.
- `sqs`, `kinesis`, `kafka`: one mapping each.
"""
