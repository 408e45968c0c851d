"""Processes that end with this one: started under `leash.py`, their output lines handed to a callback."""

import collections
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LineCallback = Callable[[str], None]

_LEASH = Path(__file__).with_name("leash.py")
_REMEMBERED_LINES = 40
_END_TIMEOUT_S = 10.0


class LeashedProcess:
    """One command in a process group of its own that cannot outlive this process.

    `on_stdout` and `on_stderr` are called with each line (no line end, undecodable bytes replaced), each from a thread
    of its own. `environment` is the command's whole environment: nothing is inherited.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        folder: Path,
        on_stdout: LineCallback,
        on_stderr: LineCallback,
    ) -> None:
        self.command = [str(part) for part in command]
        self._last_lines: collections.deque[str] = collections.deque(maxlen=_REMEMBERED_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), *self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(environment),
        )
        streams = ((self._process.stdout, on_stdout), (self._process.stderr, on_stderr))
        self._readers = [
            threading.Thread(target=self._read, args=(stream, callback), daemon=True) for stream, callback in streams
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self) -> bool:
        """Whether the command has not ended."""
        return self._process.poll() is None

    @property
    def last_output(self) -> str:
        """The last lines of both streams, for error messages."""
        return "\n".join(self._last_lines)

    def wait(self, timeout_s: float) -> int | None:
        """Exit status of the command, or None if it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End the command and everything it started; returns when they are gone and all output is read."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(_END_TIMEOUT_S)

    def _read(self, stream: IO[bytes] | None, callback: LineCallback) -> None:
        if stream is None:
            return
        with stream:
            for raw in stream:
                line = raw.rstrip(b"\n").decode(errors="replace")
                self._last_lines.append(line)
                callback(line)
