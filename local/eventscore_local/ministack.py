"""S3, SQS, Kinesis and CloudWatch on this machine: ministack as a process on a free port of 127.0.0.1."""

import os
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eventscore_local.errors import EmulatorFailed, ToolMissing
from eventscore_local.isolated_tools import find_ministack
from eventscore_local.leashed_process import LeashedProcess
from eventscore_local.loopback_ports import LOOPBACK, free_ports, wait_for_listener

REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
"""What a function or a client needs beside the endpoint; the emulator believes any key."""

_START_TIMEOUT_S = 30.0
_ATTEMPTS = 3


class Ministack:
    """A context manager: an AWS that starts empty on entering and is gone on leaving.

    >>> with Ministack(Path.cwd()) as aws:  # doctest: +SKIP
    ...     aws.client("sqs").create_queue(QueueName="events")
    """

    def __init__(self, root: Path, *, import_path: Path | None = None, guarded: bool = False) -> None:
        """`import_path` is a folder of packages for the functions that it runs itself, as the managed runtime has some.

        `guarded` has it speak TLS only, check signatures, and enforce the policies of roles, buckets and queues;
        CREDENTIALS are then the account's root user. Needs the openssl command.
        """
        self._command = find_ministack(root)
        if guarded and shutil.which("openssl") is None:
            raise ToolMissing("openssl, which makes the emulator's certificate, is not on PATH; install it")
        self._import_path = import_path
        self._guarded = guarded
        self._process: LeashedProcess | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    @property
    def endpoint_url(self) -> str:
        """What AWS_ENDPOINT_URL should hold."""
        return f"{'https' if self._guarded else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def certificate(self) -> Path | None:
        """What AWS_CA_BUNDLE should hold; None where it speaks plain HTTP."""
        if self._scratch is None or not self._guarded:
            return None
        return Path(self._scratch.name) / "ministack-tls" / "server.crt"  # under TMPDIR, where it puts it

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended by itself."""
        return self._process is not None and self._process.is_running

    @property
    def last_output(self) -> str:
        """The last lines that it wrote, for error messages."""
        return self._process.last_output if self._process else ""

    def client(self, service: str) -> Any:
        """A boto3 client of this AWS, with room for 32 threads. Clients may be shared between threads."""
        import boto3  # 100 ms that only callers who ask for a client should pay
        from botocore.config import Config

        session = boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        config = Config(max_pool_connections=32, retries={"max_attempts": 3, "mode": "standard"})
        verify = str(self.certificate) if self.certificate else None
        return session.client(service, endpoint_url=self.endpoint_url, verify=verify, config=config)  # type: ignore[call-overload]

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="eventscore-ministack-")
        for _ in range(_ATTEMPTS):
            self.port = free_ports(1)[0]
            self._process = LeashedProcess(
                [self._command],
                environment=self._environment(Path(self._scratch.name)),
                folder=Path(self._scratch.name),
                on_stdout=lambda _: None,
                on_stderr=lambda _: None,
            )
            if self._is_ready(self._process):
                return self
            self._process.close()
        output = self._process.last_output if self._process else ""
        self._scratch.cleanup()
        raise EmulatorFailed(f"ministack did not start within {_START_TIMEOUT_S:g} s. It wrote:\n{output}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self._process.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _environment(self, scratch: Path) -> dict[str, str]:
        more = {"PYTHONPATH": str(self._import_path)} if self._import_path else {}
        if self._guarded:
            more |= {"USE_SSL": "1", "AUTH": "true", **CREDENTIALS}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(scratch),
            "TMPDIR": str(scratch),  # its pid file, S3 data and state stay out of the machine's /tmp
            "STATE_DIR": str(scratch / "state"),
            "S3_DATA_DIR": str(scratch / "s3"),
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": LOOPBACK,
            # Two listeners of its own that ignore BIND_HOST: MQTT on 0.0.0.0:8883, and SFTP.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "LOG_LEVEL": "ERROR",
            **more,
        }

    def _is_ready(self, process: LeashedProcess) -> bool:
        if not wait_for_listener(self.port, timeout_s=_START_TIMEOUT_S, process=process):
            return False
        deadline = time.monotonic() + _START_TIMEOUT_S
        tls = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        while process.is_running and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.endpoint_url}/_ministack/ready", timeout=5, context=tls) as answer:  # noqa: S310
                    if answer.status == 200:
                        return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return False
