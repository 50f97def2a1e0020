"""A stand-in for an agent's relay: the agent's, reached by HTTP, and the ways in which it can fail."""

import itertools
import os
import pathlib
import socket
import threading
from typing import Any, List

from agent import Agent
from conftest import App

_GIVEN = itertools.count(1)


class Relay(Agent):
    """The stand-in for the agent, reached as a relay is."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        super().__init__("")
        host, port = address.split(":")
        self._listener = socket.create_server((host, int(port)))
        self.address = "%s:%d" % self._listener.getsockname()
        self.url, self.status = "http://" + self.address, 101
        # The last head, and how many there were.
        self.asked, self.count = b"", 0

    def start(self, listens_as: Any = None) -> "Relay":
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.drop()

    def _serve(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return
            head += byte
        self.asked, self.count = head, self.count + 1
        connection.sendall(b"HTTP/1.1 %d As told\r\nupgrade: revenium-lines\r\n\r\n" % self.status)
        if self.status != 101:
            return connection.close()
        super()._serve(connection)


def closed() -> str:
    """An address where nobody listens, until somebody does, and that no other test is given."""
    high, low = divmod(os.getpid() & 0x7FFF, 256)
    return "127.%d.%d.%d:8793" % (high | 0x80, low, next(_GIVEN))


def folder(app: App, url: str) -> pathlib.Path:
    """Where is kept what the relay there misses."""
    return app.socket.parent / "spool-relay" / url.split("//")[1].replace(":", "_")


def said(err: str) -> List[str]:
    """Lines about the agent: a program without the SDK is told that there is nothing to meter."""
    return [line for line in err.splitlines() if "nothing to meter" not in line]
