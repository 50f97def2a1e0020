"""An agent's relay in the place of its socket, for a machine or container that has no agent of its own.

Its connection is asked for by HTTP and is one of the socket's from then on: the same lines, the same answers. Asking waits
for the answer, so only the background thread does it; a key is never told this way. What cannot be handed over is kept
in a folder of that relay's own, which no agent looks into, and is handed in by whichever process next reaches the relay.
"""

import errno
import os
import re
import socket
from typing import Callable, List, Mapping, Optional, Set

from . import _log, _spool
from ._answers import Answer, Inbox
from ._place import Place, absolute

VARIABLE = "REVENIUM_AGENT_RELAY"

# How long a relay may take to be reached.
CONNECT_WITHIN = 2.0

# How long to wait for it to take a piece of a file, or to answer: no longer than an application that ends may.
WAIT_MAX = 1.0
PIECE_BYTES = 64 << 10

# What is read of its answer to being asked.
HEAD_BYTES_MAX = 16 << 10

# A host, a port, and the path before ours: of a relay with a token, /token/TOKEN.
_URL = re.compile(r"http://(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+):(?P<port>\d{1,5})(?P<path>(/[!-~]*)?)")


class Relay(Place):
    """Where the relay is. Its path is its URL without a token."""

    def __init__(self, host: str, port: int, path: str, spool: str) -> None:
        super().__init__("http://%s:%d" % (host, port), spool)
        self._address = (host.strip("[]"), port)
        self._head = (
            "GET %s/lines HTTP/1.1\r\nHost: %s:%d\r\nConnection: upgrade\r\nUpgrade: revenium-lines\r\n\r\n"
            % (path.rstrip("/"), host, port)
        ).encode()

    def connect(self) -> socket.socket:
        """Connects, and waits until the relay has answered."""
        connection = socket.create_connection(self._address, CONNECT_WITHIN)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(self._head)
            status = _status(connection)
            if status != 101:
                raise OSError(errno.EPROTO, _trouble(status))
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        return connection

    def hand_in(self, may_go_on: Callable[[], bool]) -> None:
        """Hands in the files that this user has in the relay's folder, as long as it may. The agent knows events that it
        has by their numbers, so it is no harm if another process does the same."""
        try:
            for path in _files(self.spool):
                if not self._hand_in(path, may_go_on):
                    return
        except OSError:
            pass  # The next connection tries again.

    def _hand_in(self, path: str, may_go_on: Callable[[], bool]) -> bool:
        """Hands in one file, which goes once each of its events was answered. Whether to try the next one."""
        try:
            with open(path, "rb") as file:
                content = file.read(_spool.FILE_BYTES_MAX + _spool.HELLO_BYTES_MAX)
                is_whole = not file.read(1)
        except FileNotFoundError:
            return True
        answered, trouble = Answered(), "" if is_whole else "it is too large"
        with self.connect() as connection:
            connection.settimeout(WAIT_MAX)
            for at in range(0, len(content) if is_whole else 0, PIECE_BYTES):
                if not may_go_on():
                    return False
                connection.sendall(content[at : at + PIECE_BYTES])
            connection.shutdown(socket.SHUT_WR)
            inbox = Inbox()
            while may_go_on():
                said = connection.recv(8 << 10)
                if not said:
                    break
                for answer in inbox.take(said):
                    if answer.is_durable or answer.n is not None and not answer.is_for_now:
                        answered.add(answer)
                    elif answer.is_for_now:
                        # It takes nothing now.
                        return False
                    else:
                        trouble = answer.message
        if trouble:
            _log.error_once("file " + path, "%s cannot be handed in: %s", path, trouble)
        elif answered.has_all(content):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        return True


class Answered:
    """Numbers that are durable, or were refused for good."""

    def __init__(self) -> None:
        self._upto = 0
        self._refused: Set[int] = set()

    def add(self, answer: Answer) -> None:
        if answer.is_durable:
            self._upto = max(self._upto, answer.n or 0)
        elif answer.n is not None:
            self._refused.add(answer.n)
            _log.logger.warning("a call was not metered: the agent refused it (%s): %s", answer.code, answer.message)

    def has_all(self, content: bytes) -> bool:
        """Whether no event of these lines is left."""
        numbers = map(int, re.findall(rb'^\{"n":(\d{1,20}),', content, re.MULTILINE))
        return all(n <= self._upto or n in self._refused for n in numbers)


def of_environment(env: Mapping[str, str], folder: str) -> Optional[Relay]:
    """The relay that the environment names, if it does."""
    named = env.get(VARIABLE, "").strip()
    if not named:
        return None
    found = _URL.fullmatch(named)
    if found is None or not 0 < int(found.group("port")) < 65536:
        # It may hold a token, so it is not repeated.
        _log.error_once("relay", "%s is no relay's URL, such as http://127.0.0.1:8793: it is not used", VARIABLE)
        return None
    host, port = found.group("host"), int(found.group("port"))
    # Of each relay its own, so that no event ends up with another agent than it was meant for.
    spool = absolute(env, "REVENIUM_AGENT_SPOOL") or os.path.join(folder + "-relay", "%s_%d" % (host, port))
    return Relay(host, port, found.group("path"), spool)


def _status(connection: socket.socket) -> int:
    """The status that it answers. What follows its head is not read."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
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


def _files(folder: str) -> List[str]:
    """Finished files of this user's, the oldest first."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl") and not entry.name.startswith("."):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid == os.geteuid() and entry.is_file(follow_symlinks=False):
                        found.append((status.st_mtime, entry.path))
    except OSError:
        return []
    return [path for _, path in sorted(found)[: _spool.OWN_FILES_MAX]]
