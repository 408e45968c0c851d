"""Free TCP ports on 127.0.0.1, and waiting until something listens on one."""

import contextlib
import socket
import time

from eventscore_local.leashed_process import LeashedProcess

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """`count` different ports that were free a moment ago. Whoever uses them must be ready to lose the race."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for_listener(port: int, *, timeout_s: float, process: LeashedProcess) -> bool:
    """Whether something accepts connections on `port` before `timeout_s` passes or `process` ends."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.is_running:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False
