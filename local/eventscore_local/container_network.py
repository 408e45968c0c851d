"""A Docker network in which containers reach a server of 127.0.0.1, and nothing listens anywhere else for it.

Two relays meet in a Unix socket: one in a container of the network, one on this machine.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from eventscore_local.errors import EmulatorFailed, ToolMissing

ALIAS = "aws.local"
"""The server's name inside the network."""
PORT = 4566
NETWORK = "eventscore-sam-local"
_RELAY = Path(__file__).with_name("socket_relay.py")
_ASK_TIMEOUT_S = 60


def docker(*arguments: str) -> str:
    """What a ``docker`` command prints.

    Raises:
        ToolMissing: no Docker, or no daemon that answers.
        EmulatorFailed: the command ended with an error; the message is Docker's.

    """
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise ToolMissing("Docker is not installed: there is no `docker` on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise ToolMissing(
            f"Docker's daemon did not answer `docker {arguments[0]}` within {_ASK_TIMEOUT_S} s"
        ) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "nothing"
        if "daemon" in said:
            raise ToolMissing(f"no Docker daemon answers; start one, or name it with DOCKER_HOST. Docker says: {said}")
        raise EmulatorFailed(f"`docker {' '.join(arguments)}` failed: {said}")
    return done.stdout.strip()


class ContainerNetwork:
    """A context manager: the network is there on entering, and gone with its relays on leaving.

    Containers in it reach the server on ``port`` of 127.0.0.1 as ``url``. ``image`` needs a Python at ``python``, as Lambda's has.
    """

    url = f"http://{ALIAS}:{PORT}"

    def __init__(self, port: int, image: str, python: str) -> None:
        self._port = port
        self._image = image
        self._python = python
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ends:
            if NETWORK not in docker("network", "ls", "--format", "{{.Name}}").split():
                docker("network", "create", NETWORK)
            ends.callback(docker, "network", "rm", NETWORK)
            folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="eventscore-relay-"))
            here = [sys.executable, "-I", str(_RELAY), f"unix:{folder}/aws", f"tcp:127.0.0.1:{self._port}"]
            self._start(here, ends)
            mounts = ["--volume", f"{_RELAY}:/relay.py:ro", "--volume", f"{folder}:/relay"]
            there = ["docker", "run", "--rm", "--interactive", "--network", NETWORK, "--network-alias", ALIAS, *mounts]
            inside = [self._image, "-I", "/relay.py", f"tcp:0.0.0.0:{PORT}", "unix:/relay/aws"]
            self._start([*there, "--entrypoint", self._python, *inside], ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @staticmethod
    def _start(command: list[str], ends: contextlib.ExitStack) -> None:
        process = ends.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        # Its input ends, and so does it; leaving Popen then waits for it.
        if process.stdin is None or process.stdout is None:
            raise EmulatorFailed("a relay has no standard streams")
        ends.callback(process.stdin.close)
        if process.stdout.readline().strip() != "listening":
            raise EmulatorFailed(f"`{' '.join(command)}` did not start")
