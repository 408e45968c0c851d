"""An AWS on this machine, without Docker: what `eventscore demo` and the end-to-end tests run the function on.

From the bottom up:

- `leash`, `leashed_process`: a process that always ends with the one that started it.
- `isolated_tools`: where `make setup` put ministack and Lambda's Runtime Interface Emulator.
- `ministack`: S3, SQS, Kinesis and CloudWatch on a free port of 127.0.0.1.
- `kafka_cluster`: a Kafka cluster of three brokers inside this process, spoken to over TCP.
- `layers`: the function's layers and the managed runtime, built for this machine.
- `execution_environment`, `environment_pool`: Lambda execution environments that see only what the layers ship.
- `event_source_mappings`: pollers for SQS, Kinesis and Kafka that batch, retry and checkpoint as Lambda's do.
- `deployment`, `deployment_template`, `deployment_packages`, `deployment_concessions`: the whole stack of template.yaml in ministack.
- `deployment_metrics`: what CloudWatch would count by itself for that stack.
- `emf`: metrics out of the function's log lines, as CloudWatch Logs extracts them.
"""
