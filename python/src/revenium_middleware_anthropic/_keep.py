"""What goes from memory to the spool, and when: while no agent takes it, and at the end.

The background thread does it; at the end of a process whose thread hangs, whoever ends it. A disk is waited for, so
never with the lock.
"""

import math
import threading
import time
from typing import Callable, List

from . import _log, _spool
from ._state import State

# An agent that answers nothing for so long is as good as away.
STALLED_AFTER = 2.0
# The pause after a spool file, for each file of this outage, so that a long one makes few files.
SPOOL_PAUSE = 0.1
SPOOL_PAUSE_MAX = 30.0


class Keeper:
    """See the module's text. `hello` says whose calls these are."""

    def __init__(self, state: State, lock: "threading.RLock", hello: Callable[[], bytes], now: float) -> None:
        # Files since an agent has last answered.
        self.files = 0
        self._state, self._lock, self._hello = state, lock, hello
        self._writer = _spool.Writer()
        self._at = self._quiet_since = now
        self._failures = 0

    def progressed(self, now: float) -> None:
        """The agent has answered, or there is a new one."""
        self._quiet_since = now

    def is_due(self, now: float, is_away: bool, urgent_at: float) -> bool:
        """Whether to spool: nobody takes it, or too slowly, or by then somebody wants to be sure of it."""
        if not self._state.in_memory():
            self._quiet_since = now
            return False
        if urgent_at < math.inf:
            return (is_away or now >= urgent_at) and (not self._failures or now >= self._at)
        is_due = is_away or now - self._quiet_since >= STALLED_AFTER
        if self._failures:
            return is_due and now >= self._at
        # The last: an agent that is there and too slow.
        return (is_due and (now >= self._at or self._state.fills(4))) or self._state.fills(7)

    def keep(self, folder: str) -> bool:
        """Spools what there is, or of much a part. False if there was nothing, or no room."""
        with self._lock:
            parked = self._state.park(_spool.FILE_BYTES_MAX)
            hello, producer = self._hello(), self._state.producer
        if not parked:
            return False
        try:
            self._writer.write(folder, producer, parked[0].n, [hello, *(line.content for line in parked)])
        except BaseException as error:
            with self._lock:
                self._state.unpark(parked)
            self._failures += 1
            self._pause(2 ** min(self._failures, 16))
            if not isinstance(error, (OSError, ValueError)):
                raise
            _log.error_once("spool", "cannot keep calls in %s: %s", folder, error)
            return False
        with self._lock:
            self._state.spooled(parked)
        self.files += 1
        self._failures = 0
        self._pause(self.files)
        _log.over("spool")
        return True

    def left(self) -> List[str]:
        """Spool files of this process that no agent has taken in yet."""
        return self._writer.left()

    def _pause(self, times: int) -> None:
        self._at = time.monotonic() + min(SPOOL_PAUSE * times, SPOOL_PAUSE_MAX)
