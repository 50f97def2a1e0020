"""Waiting until something can be read or written, and being woken from that.

By `poll`; where an application has taken that away, as `eventlet.monkey_patch` does, by `select`. It may do so at any
time, so it is looked for each time.
"""

import os
import select
from typing import List, Optional, Sequence, Tuple


# That the other side has ended what it says; Linux tells it apart from what can be read.
_ENDED = getattr(select, "POLLRDHUP", 0)


def ready(
    to_read: List[int], to_write: List[int], within: Optional[float], to_end: Sequence[int] = ()
) -> Tuple[List[int], List[int]]:
    """Which descriptors can be read or have ended, and which can be written, once one can or the seconds are over. Of those
    that are `to_end`, which have, where that can be told."""
    if not hasattr(select, "poll"):
        return select.select(to_read, to_write, [], within)[:2]
    poll = select.poll()
    for file in {*to_read, *to_write, *to_end}:
        poll.register(file, select.POLLIN * (file in to_read) | select.POLLOUT * (file in to_write) | _ENDED)
    said = poll.poll(None if within is None else within * 1000)
    return (
        [file for file, flags in said if flags & ~select.POLLOUT],
        [file for file, flags in said if flags & select.POLLOUT],
    )


class Waker:
    """Ends a wait early, by a pipe. That is made when it is first waited with, and only then has to be had: no call is lost
    at the limit of open files."""

    def __init__(self) -> None:
        self._to_read: Optional[int] = None
        self._to_write: Optional[int] = None

    def prepare(self) -> Optional[int]:
        """Before a wait: what can be read once it is to end. `None` if that cannot be had."""
        if self._to_read is None:
            try:
                self._to_read, to_write = os.pipe()
            except OSError:
                return None
            for end in (self._to_read, to_write):
                os.set_blocking(end, False)
            self._to_write = to_write
        return self._to_read

    def wake(self) -> None:
        if self._to_write is not None:
            try:
                os.write(self._to_write, b"\0")
            except OSError:
                pass  # It was woken so often that it will look anyway, or has ended.

    def woken(self) -> None:
        """After a wait that it has ended."""
        if self._to_read is not None:
            os.read(self._to_read, 4096)

    def drop(self) -> None:
        """In a forked child: closes its copies of what is its parent's."""
        for end in (self._to_read, self._to_write):
            if end is not None:
                os.close(end)
