"""Handing in what a relay missed: the files of its folder, which no agent looks into.

Each goes on a connection of its own, and is removed once each of its events was answered. None keeps the next: not one
that cannot be read, that is refused, that breaks off or that takes long; only where the relay has no room for a
profile, that profile's others wait, too. The agent knows events that it has by their numbers, so it is no harm if another
process does the same. All of this waits for the relay: whose thread that may hold up is not decided here.
"""

import json
import os
import re
import socket
import time
from typing import Callable, Iterator, List, Optional, Set

from . import _log, _spool, _wait
from ._answers import Answer, Inbox
from ._relay import Relay

# A relay that takes and says nothing for so long is left: its disk may be slow.
SILENT_MAX = 10.0
# How often to ask whether it may go on.
ASK_EVERY = 0.25

PIECE_BYTES = 64 << 10


def hand_in(relay: Relay, may_go_on: Callable[[], bool]) -> None:
    """Hands in the files that this user has there, the oldest first, as long as it may. Raises `OSError` if the relay
    is not reached; what is left then is the next round's."""
    full: Set[Optional[str]] = set()
    for path in _files(relay.spool):
        file = _read(path, full)
        if file is None:
            continue
        if not may_go_on():
            return
        said = Said()
        with relay.connect() as connection:
            try:
                for answer in _exchange(connection, file.content, may_go_on):
                    said.add(answer)
                    if said.not_now:
                        break
            except OSError:
                pass  # What it has said so far counts.
            _end(connection)
        if said.not_now == "full":
            full.add(file.profile)
        elif said.not_now:
            return
        elif said.trouble:
            _tell(path, said.trouble)
        elif said.settles(file.numbers):
            _remove(path)


class File:
    """What a process has spooled: its hello, and lines of events behind it. `ValueError` says that it is none."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        numbers = re.finditer(rb'^\{"n":(\d{1,20}),', content, re.MULTILINE)
        self.numbers = [int(found.group(1)) for found in numbers]
        # None of them may be missed: it goes once all of them were answered.
        if not self.numbers or len(self.numbers) != content.count(b"\n") - 1:
            raise ValueError("it has lines that are no numbered events")
        self.profile = _profile(content[: content.find(b"\n")])


class Said:
    """What a relay said of a file."""

    def __init__(self) -> None:
        # Why the whole of it is refused; and why the relay takes nothing now.
        self.trouble = self.not_now = ""
        self._upto = 0
        self._refused: Set[int] = set()

    def add(self, answer: Answer) -> None:
        if answer.is_durable:
            self._upto = max(self._upto, answer.n or 0)
        elif answer.is_for_now:
            self.not_now = answer.code
        elif answer.n is None:
            self.trouble = answer.message
        elif answer.n not in self._refused:
            self._refused.add(answer.n)
            _log.logger.warning("a call was not metered: the agent refused it (%s): %s", answer.code, answer.message)

    def settles(self, numbers: List[int]) -> bool:
        """Whether each of these events is durable, or was refused for good."""
        return all(n <= self._upto or n in self._refused for n in numbers)


def _exchange(connection: socket.socket, content: bytes, may_go_on: Callable[[], bool]) -> Iterator[Answer]:
    """The answers to a file, until the relay has ended them. They are read while it is sent: a relay that nobody
    listens to reads no further either."""
    rest, inbox, file = memoryview(content), Inbox(), connection.fileno()
    silent_since = time.monotonic()
    while may_go_on() and time.monotonic() - silent_since < SILENT_MAX:
        readable, writable = _wait.ready([file], [file] if rest else [], ASK_EVERY)
        if readable or writable:
            silent_since = time.monotonic()
        if readable:
            said = connection.recv(8 << 10)
            if not said:
                return
            yield from inbox.take(said)
        elif writable:
            rest = rest[connection.send(rest[:PIECE_BYTES]) :]
            if not rest:
                connection.shutdown(socket.SHUT_WR)


def _end(connection: socket.socket) -> None:
    """So that the relay sees it, even if a child that was forked meanwhile has a copy."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It has ended it itself.


def _files(folder: str) -> List[str]:
    """Finished files of this user's, the oldest first. All of them, as the oldest may be such as cannot be handed in; no
    process writes to a folder that has many (`_spool.FOLDER_FILES_MAX`)."""
    found = []
    # On Windows every file is said to be of user 0.
    uid = os.geteuid() if hasattr(os, "geteuid") else 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl") and not entry.name.startswith("."):
                    try:
                        status = entry.stat(follow_symlinks=False)
                        if status.st_uid == uid and entry.is_file(follow_symlinks=False):
                            found.append((status.st_mtime, entry.path))
                    except OSError:
                        pass  # Another process has handed it in.
    except OSError:
        pass  # Nothing was missed so far.
    return [path for _, path in sorted(found)]


def _profile(hello: bytes) -> Optional[str]:
    """Whose a file's events are, if its hello says so."""
    try:
        return str(json.loads(hello)["hello"]["profile"])
    except (ValueError, KeyError, TypeError):
        return None


def _read(path: str, full: Set[Optional[str]]) -> Optional[File]:
    """`None` if it is of one of these profiles, cannot be handed in, which is told, or was by another process."""
    size_max = _spool.FILE_BYTES_MAX + _spool.HELLO_BYTES_MAX
    try:
        with open(path, "rb") as file:
            hello = file.readline(_spool.HELLO_BYTES_MAX)
            if _profile(hello) in full:
                return None
            content = hello + file.read(size_max + 1 - len(hello))
        if len(content) > size_max:
            raise ValueError("it is too large")
        return File(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        _tell(path, error.strerror or str(error))
    except ValueError as error:
        _tell(path, str(error))
    return None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.error_once("file " + path, "%s was handed in and cannot be removed: %s", path, error.strerror or error)


def _tell(path: str, trouble: str) -> None:
    _log.error_once("file " + path, "%s cannot be handed in: %s", path, trouble)
