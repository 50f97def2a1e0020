"""A visit to a relay: it is reached, and while that connection stands it is handed what it missed.

Both wait, for a name or a silent network as long as it takes, and the background thread has calls to send and to spool
meanwhile. So a visit has a thread of its own, which touches nothing of the background thread's: that takes the
connection from here, and tells when it has lost it, which ends the visit.
"""

import errno
import random
import socket
import threading
from typing import Callable, Optional, Union

from . import _hand_in, _log, _threads
from ._relay import Relay

# How often to look for files: other processes leave some, too. Scaled by a random factor, so that those of a server
# take turns.
LOOK_EVERY = 30.0


class Visit:
    """See the module's text. `tell` is called when there is something to look at here."""

    def __init__(self, relay: Relay, tell: Callable[[], None]) -> None:
        self.is_handing_in = False
        # Nobody knows yet how it went.
        self.is_new = True
        self._relay, self._tell = relay, tell
        self._outcome: Union[None, socket.socket, OSError] = None
        self._is_over = False
        self._look = threading.Event()

    def begin(self) -> None:
        if not _threads.begin("revenium-relay", self._run):
            self._outcome = OSError(errno.EAGAIN, "there is no thread to reach it by")

    def take(self) -> Union[None, socket.socket, OSError]:
        """The connection, or why there is none: once, when it is known."""
        outcome = self._outcome
        if outcome is not None:
            self._outcome, self.is_new = None, False
        return outcome

    def look(self) -> None:
        """There are files that it may take now."""
        self._look.set()

    def leave(self) -> None:
        """Its connection is lost, or not wanted."""
        self._is_over = True
        self._look.set()

    def drop(self) -> None:
        """In a forked child, which has no such thread: closes its copy of the connection."""
        if isinstance(self._outcome, socket.socket):
            self._outcome.close()

    def _run(self) -> None:
        try:
            outcome: Union[socket.socket, OSError] = self._relay.connect()
        except OSError as error:
            # It is kept, and would keep these frames with it.
            outcome = error.with_traceback(None)
        except Exception as error:
            _log.bug("reaching the relay")
            outcome = OSError(errno.EINVAL, str(error))
        is_reached = not isinstance(outcome, OSError)
        # The end of a process waits for that, if not for long. Whoever sees the connection sees this, too.
        self.is_handing_in = is_reached
        self._outcome = outcome
        self._tell()
        while is_reached and not self._is_over:
            self._look.clear()
            self._hand_in()
            self._look.wait(LOOK_EVERY * random.uniform(0.5, 1.0))

    def _hand_in(self) -> None:
        self.is_handing_in = True
        try:
            _hand_in.hand_in(self._relay, lambda: not self._is_over)
        except OSError:
            pass  # It is not reached any more, or not by so many.
        except Exception:
            _log.bug("handing in spool files")
        self.is_handing_in = False
        self._tell()
