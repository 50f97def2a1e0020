"""What one process keeps in memory, and the connection that it goes out on. Whoever calls a method here holds the
lock; what is done under it is at most one system call that does not wait.

Events have numbers without gaps and go out in their order: on a connection, numbers that are outstanding go up,
since an answer settles all up to its number. An event is in exactly one of three queues, each ascending:

- `sent`: the kernel has it, on this connection, and the agent has not answered.
- `deferred`: the agent had no room for it. Then nothing else is sent until `sent` is empty, and all goes again.
- `unsent`: it waits; its number is above all of the others.

While events are being spooled they are in none of them, and nothing else is sent.
"""

import os
import socket
from collections import deque
from typing import Deque, Dict, List, Optional

# The agent's bound on a line, its newline apart.
LINE_BYTES_MAX = (1 << 20) + 1024

# What is kept at most, in bytes of lines and in events: a burst of the largest lines, until they are in the spool.
MEMORY_BYTES_MAX = 16 << 20
MEMORY_EVENTS_MAX = 65_536

# Events that are outstanding at most: the agent remembers 1,024 unbroken runs of a producer's numbers.
OUTSTANDING_MAX = 512
# Refused events, each a hole in the numbers, after which a new producer begins.
HOLES_MAX = 500

# What is sent at a time from the background thread, so that it holds the lock for microseconds.
PUMP_BYTES = 64 << 10

# Windows has neither.
_FLAGS = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


class Line:
    """An event that is kept: its number, and the line with its newline."""

    __slots__ = ("content", "n")

    def __init__(self, n: int, content: bytes) -> None:
        self.n = n
        self.content = content


class State:
    """See the module's text."""

    def __init__(self) -> None:
        self.producer = new_producer()
        self.deferred: List[Line] = []
        self.sent: Deque[Line] = deque()
        self.unsent: Deque[Line] = deque()
        self.parked = 0
        self.kept_bytes = 0
        self.connection: Optional[socket.socket] = None
        self.is_broken = False
        self.is_held = False
        self.is_switching = False
        self.counts: Dict[str, int] = {"emitted": 0, "sent": 0, "durable": 0, "spooled": 0, "lost": 0}
        self._rest = b""
        self._next_n = 1
        self._sent_upto = 0
        self._holes = 0

    # Into memory.

    def admit(self, body: bytes) -> Optional[str]:
        """Numbers and keeps an event; else why it is lost. `body` is a line without its `{` and its number."""
        self.counts["emitted"] += 1
        content = b'{"n":%d,%b' % (self._next_n, body)
        if len(content) > LINE_BYTES_MAX:
            return self._lose("it is larger than the agent takes")
        if self.in_memory() >= MEMORY_EVENTS_MAX or self.kept_bytes + len(content) > MEMORY_BYTES_MAX:
            return self._lose("memory and spool are full")
        self.unsent.append(Line(self._next_n, content))
        self.kept_bytes += len(content)
        self._next_n += 1
        return None

    def in_memory(self) -> int:
        return len(self.deferred) + len(self.sent) + len(self.unsent) + self.parked

    def fills(self, eighths: int) -> bool:
        """Whether so many eighths of what may be kept are."""
        return (
            self.kept_bytes >= MEMORY_BYTES_MAX // 8 * eighths or self.in_memory() >= MEMORY_EVENTS_MAX // 8 * eighths
        )

    # To the kernel.

    def connected(self, connection: socket.socket, hello: bytes) -> None:
        """Begins a connection with its hello. All that is kept goes out on it."""
        self.disconnected()
        self.connection, self._rest = connection, hello

    def say(self, line: bytes) -> None:
        """Puts a line that is no event in front of the next event."""
        self._rest += line

    def disconnected(self) -> None:
        """Ends the connection. The other side sees the end even if a forked child has a copy of it."""
        if self.connection is not None:
            try:
                self.connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # The other side is gone, and then the same holds.
            self.connection.close()
        self.connection, self._rest, self.is_broken = None, b"", False
        self.resend()

    def resend(self) -> None:
        """All that was handed over and not answered is sent again, from the front."""
        self.is_held = False
        if self.sent or self.deferred:
            self.unsent.extendleft(reversed(self._handed_over()))
            self.deferred.clear()
            self.sent.clear()

    def is_cut(self) -> bool:
        """Whether the kernel took half of a line, or has yet to take the hello."""
        return bool(self._rest)

    def may_pump(self) -> bool:
        """Whether `pump` would try to send something."""
        if self.connection is None or self.is_broken:
            return False
        if self._rest:
            return True
        return bool(self._sendable(1))

    def pump(self) -> bool:
        """Hands some of what waits to the kernel, without waiting. False when it has no room, or is gone."""
        if self.connection is None or self.is_broken:
            return False
        lines = self._sendable(PUMP_BYTES)
        content = b"".join([self._rest, *(line.content for line in lines)])
        if not content:
            return True
        try:
            taken = self.connection.send(content, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.is_broken = True
            return False
        # What it took half of counts as sent; the other half goes before anything else.
        end = len(self._rest)
        for line in lines:
            if taken <= end:
                break
            end += len(line.content)
            self.sent.append(self.unsent.popleft())
            if line.n > self._sent_upto:
                self.counts["sent"] += 1
                self._sent_upto = line.n
        self._rest = content[taken:end]
        return taken == len(content)

    def _sendable(self, bytes_max: int) -> List[Line]:
        """Lines that may go out now: none while something is deferred or being spooled."""
        lines: List[Line] = []
        if self.is_held or self.parked:
            return lines
        size = 0
        for line in self.unsent:
            is_next_producers = self.is_switching and line.n > self._sent_upto
            if size >= bytes_max or len(self.sent) + len(lines) >= OUTSTANDING_MAX or is_next_producers:
                break
            lines.append(line)
            size += len(line.content)
        return lines

    # Out of memory.

    def durable(self, upto: int) -> int:
        """Events up to `upto` that were sent are durable; how many those are."""
        count = 0
        while self.sent and self.sent[0].n <= upto:
            self.kept_bytes -= len(self.sent.popleft().content)
            count += 1
        self.counts["durable"] += count
        return count

    def refused(self, n: int, is_for_now: bool) -> bool:
        """The agent did not take this event; whether it is known here."""
        for at, line in enumerate(self.sent):
            if line.n == n:
                del self.sent[at]
                break
        else:
            return False
        if is_for_now:
            self.deferred.append(line)
            self.is_held = True
            return True
        self.kept_bytes -= len(line.content)
        self.counts["lost"] += 1
        self._holes += 1
        # What was sent, or may be in a file, keeps its producer; the rest is nobody's yet.
        self.is_switching = self._holes >= HOLES_MAX
        return True

    def switch_producer(self) -> bool:
        """Begins a new producer if one is due and no event of the old one is left."""
        if not self.is_switching or self.deferred or self.sent or self.parked:
            return False
        if self.unsent and self.unsent[0].n <= self._sent_upto:
            return False
        self.producer, self._holes, self.is_switching = new_producer(), 0, False
        self.disconnected()
        return True

    def park(self, bytes_max: int) -> List[Line]:
        """Takes out what is kept, to be spooled: events of one producer, in order, of `bytes_max` together. They
        count as in memory until `spooled` or `unpark`; none are taken out until then."""
        kept: List[Line] = []
        if self.parked:
            return kept
        size = 0
        for line in [*self._handed_over(), *self.unsent]:
            size += len(line.content)
            if size > bytes_max or (self.is_switching and line.n > self._sent_upto):
                break
            kept.append(line)
        last = kept[-1].n if kept else 0
        self.deferred = [line for line in self.deferred if line.n > last]
        for queue in (self.sent, self.unsent):
            while queue and queue[0].n <= last:
                queue.popleft()
        self.parked = len(kept)
        return kept

    def spooled(self, parked: List[Line]) -> None:
        """What was parked is in a spool file."""
        self.kept_bytes -= sum(len(line.content) for line in parked)
        self.counts["spooled"] += len(parked)
        # What was not sent by now will not be, under this producer's name or another's.
        self._sent_upto = max(self._sent_upto, parked[-1].n)
        self.parked = 0

    def unpark(self, parked: List[Line]) -> None:
        """What was parked could not be spooled: all of it is sent again, once there is a connection."""
        self.parked = 0
        if self.connection is not None:
            # Later events may be outstanding on it, and numbers go up.
            self.disconnected()
        self.unsent.extendleft(reversed(parked))

    def abandon(self) -> int:
        """Gives up all that is kept; how many events that are."""
        left = self.in_memory()
        self.deferred.clear()
        self.sent.clear()
        self.unsent.clear()
        self.parked = self.kept_bytes = 0
        self.counts["lost"] += left
        return left

    def _handed_over(self) -> List[Line]:
        return sorted([*self.deferred, *self.sent], key=lambda line: line.n)

    def _lose(self, reason: str) -> str:
        self.counts["lost"] += 1
        return reason


def new_producer() -> str:
    """128 random bits, in hex."""
    return os.urandom(16).hex()
