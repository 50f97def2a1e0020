"""An agent's relay in the place of its socket, for a machine or container that has no agent of its own.

Its connection is asked for by HTTP and is one of the socket's from then on: the same lines, the same answers. Asking
waits for the answer, so only a thread of its own does it (`_visit`); a key is never told this way. What cannot be
handed over is kept in a folder of that relay's own, which no agent looks into, and is handed in (`_hand_in`) by
whichever process reaches the relay.
"""

import errno
import hashlib
import os
import re
import socket
import time
from typing import Any, List, Mapping, Optional

from . import _log
from ._place import Place

VARIABLE = "REVENIUM_AGENT_RELAY"

# How long a relay may take to be reached, once its name is known, by whichever of its addresses.
CONNECT_WITHIN = 4.0

# What is read of its answer to being asked.
HEAD_BYTES_MAX = 16 << 10

# A host, a port, and the path before ours: of a relay with a token it ends in /token/TOKEN. A name is of labels as they
# are looked up, since what is none would be refused by the resolver in ways of its own.
_HOST = r"\[[0-9a-fA-F:.]+\]|([\w-]{1,63}\.)*[\w-]{1,63}\.?"
_URL = re.compile(r"http://(?P<host>%s):(?P<port>\d{1,5})(?P<path>(/[!-~]*)?)" % _HOST, re.ASCII)
_TOKEN = re.compile(r"/token/[^/]+$")


class Relay(Place):
    """Where the relay is. Its path is its URL without what may hold a token."""

    def __init__(self, host: str, port: int, path: str, spool: str) -> None:
        super().__init__("http://%s:%d" % (host, port), spool)
        self._host, self._port = host.strip("[]"), port
        self._head = (
            "GET %s/lines HTTP/1.1\r\nHost: %s:%d\r\nConnection: upgrade\r\nUpgrade: revenium-lines\r\n\r\n"
            % (path, host, port)
        ).encode()

    def connect(self) -> socket.socket:
        """Connects, and waits until the relay has answered."""
        addresses = socket.getaddrinfo(self._host.encode(), self._port, type=socket.SOCK_STREAM)
        by = time.monotonic() + CONNECT_WITHIN
        connection = _connect(addresses, by)
        try:
            self._ask(connection, by)
        except BaseException:
            connection.close()
            raise
        return connection

    def _ask(self, connection: socket.socket, by: float) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _wait_until(connection, by)
        connection.sendall(self._head)
        status = _status(connection, by)
        if status != 101:
            raise OSError(errno.EPROTO, _trouble(status))
        connection.setblocking(False)


def of_environment(env: Mapping[str, str], folder: str) -> Optional[Relay]:
    """The relay that the environment names, if it does. `folder` is for those of all relays."""
    named = env.get(VARIABLE, "").strip()
    if not named:
        return None
    found = _URL.fullmatch(named)
    if found is None or not 0 < int(found.group("port")) < 65536:
        # It may hold a token, so it is not repeated.
        _log.error_once("relay", "%s is no relay's URL, such as http://127.0.0.1:8793: it is not used", VARIABLE)
        return None
    host, port = found.group("host").lower(), int(found.group("port"))
    # Of each relay its own, so that no event ends up with another agent than it was meant for: a path may lead to
    # another one, but a new token to the same.
    path, name = found.group("path").rstrip("/"), "%s_%d" % (host, port)
    prefix = _TOKEN.sub("", path)
    if prefix:
        name += "_" + hashlib.sha256(prefix.encode()).hexdigest()[:16]
    return Relay(host, port, path, os.path.join(folder, name))


def _connect(addresses: List[Any], by: float) -> socket.socket:
    """A connection to the first of these that takes one."""
    failed = OSError(errno.EADDRNOTAVAIL, "it has no address")
    for at, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            connection = socket.socket(family, kind, protocol)
            try:
                # To each its share of the time, so that one that is silent leaves some to the next.
                _wait_until(connection, by, len(addresses) - at)
                connection.connect(address)
                return connection
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            failed = error
    raise failed


def _wait_until(connection: socket.socket, by: float, shares: int = 1) -> None:
    """Has what waits on this connection end by then, or by its share of the time."""
    left = (by - time.monotonic()) / shares
    if left <= 0:
        raise socket.timeout("timed out")
    connection.settimeout(left)


def _status(connection: socket.socket, by: float) -> int:
    """The status that it answers. What follows its head is not read."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        _wait_until(connection, by)
        byte = connection.recv(1)
        if not byte or len(head) >= HEAD_BYTES_MAX:
            raise OSError(errno.EPROTO, "it does not answer as a relay does")
        head += byte
    said = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return int(said.group(1)) if said else 0


def _trouble(status: int) -> str:
    if status == 401:
        return "it asks for a token: add /token/TOKEN to the URL"
    if status == 403:
        return "it is strict, and takes no lines: they show no key"
    if status == 421:
        return "it is not called so: add the name to relay.hosts"
    if status == 503:
        return "it is stopping"
    return "it answered %d, as no relay of this version does" % status
