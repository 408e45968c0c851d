"""A price file: dollars by service, with the region and the day that they are of."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Lambda(_Section):
    per_million_requests: _Price
    arm64_per_gb_second: _Price
    x86_64_per_gb_second: _Price
    provisioned_arm64_per_gb_second: _Price
    provisioned_x86_64_per_gb_second: _Price
    ready_arm64_per_gb_second: _Price
    ready_x86_64_per_gb_second: _Price
    snapshot_per_gb_second: _Price
    restore_per_gb: _Price
    kafka_poller_unit_hour: _Price


class _Sqs(_Section):
    per_million_requests: _Price
    bytes_per_request: Annotated[int, Field(gt=0)]


class _Kinesis(_Section):
    on_demand_stream_hour: _Price
    per_gb_in: _Price
    per_gb_out: _Price
    per_gb_fan_out: _Price
    bytes_per_record: Annotated[int, Field(gt=0)]


class _CloudWatch(_Section):
    per_gb_of_logs: _Price
    per_metric_month: _Price
    per_alarm_month: _Price
    per_composite_alarm_month: _Price
    per_dashboard_month: _Price


class _S3(_Section):
    per_million_gets: _Price
    per_gb_month: _Price


class _Scheduler(_Section):
    per_million_invocations: _Price


class _SageMaker(_Section):
    instance_hour: dict[str, _Price]


class Prices(BaseModel):
    """A price file: dollars, and the region and the day that they are of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str
    as_of: str
    function: _Lambda = Field(alias="lambda")
    sqs: _Sqs
    kinesis: _Kinesis
    cloudwatch: _CloudWatch
    s3: _S3
    scheduler: _Scheduler
    sagemaker: _SageMaker


class Unreadable(ValueError):
    """A price file or a benchmark's output cannot be read; the message says why."""


def read_prices(path: Path) -> Prices:
    """The prices in a TOML file. Raises ``Unreadable``."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Unreadable(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: expected a price file: {error}") from None
