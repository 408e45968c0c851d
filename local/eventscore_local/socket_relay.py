"""``python socket_relay.py LISTEN TARGET``: hand every connection to LISTEN on to TARGET; ends when its standard input does.

An address is ``tcp:HOST:PORT`` or ``unix:PATH``. A program of its own with nothing but the standard library, because one of the two
that stand on either side of a container's wall runs inside the container.
"""

import contextlib
import os
import socket
import sys
import threading

_CHUNK = 65_536


def _parsed(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    kind, _, rest = address.partition(":")
    if kind == "unix":
        return socket.AF_UNIX, rest
    host, _, port = rest.rpartition(":")
    return socket.AF_INET, (host, int(port))


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            to.sendall(chunk)
        to.shutdown(socket.SHUT_WR)


def _relay(caller: socket.socket, target: str) -> None:
    family, place = _parsed(target)
    with caller, socket.socket(family) as server:
        try:
            server.connect(place)
        except OSError:
            return
        answers = threading.Thread(target=_copy, args=(server, caller), daemon=True)
        answers.start()
        _copy(caller, server)
        answers.join()


def _accept(listener: socket.socket, target: str) -> None:
    while True:
        caller, _ = listener.accept()
        threading.Thread(target=_relay, args=(caller, target), daemon=True).start()


if __name__ == "__main__":
    family, place = _parsed(sys.argv[1])
    with socket.socket(family) as listener:
        listener.bind(place)
        listener.listen()
        threading.Thread(target=_accept, args=(listener, sys.argv[2]), daemon=True).start()
        print("listening", flush=True)
        # Whoever started it holds the other end of its input. Gone with him, whatever connections are open.
        sys.stdin.read()
        # At once: threads that still copy would meet an interpreter that is being taken down.
        os._exit(0)
