"""Where the agent is: found at a socket, reached by its relay, started where there is none, or told to be missing.

Connecting to a socket does not wait. Reaching a relay does, so that is a visit's (`_visit`), and here is what becomes
of it.
"""

import errno
import random
import socket
from typing import Callable, Dict, List, Optional

from . import _card, _log, _place, _trouble
from ._key import Key
from ._place import Place
from ._relay import Relay
from ._start import Outcome, Starter
from ._state import State
from ._visit import Visit

# The pause after the first failed connect; it doubles, and is scaled by a random factor in 0.5..1.0, so that
# processes that lost an agent together do not come back together.
CONNECT_PAUSE_FIRST = 0.01
CONNECT_PAUSE_MAX = 1.0
# With nothing in memory, or when the agent wants nothing of us.
CONNECT_PAUSE_IDLE_MAX = 10.0


class Finder:
    """See the module's text. `connected` begins a connection; `tell` is called when there is something to look at."""

    def __init__(
        self,
        state: State,
        places: List[Place],
        relay: Optional[Relay],
        key: Optional[Key],
        connected: Callable[[socket.socket, float], None],
        tell: Callable[[], None],
        now: float,
    ) -> None:
        self.places = places
        # A relay is an agent's.
        self.starter = Starter(relay is None and key is not None and not key.trouble)
        # Where the last connection was.
        self.place: Optional[Place] = None
        # Nobody was found where the agent could be, or it turned us away and has answered nothing since.
        self.is_away = self.is_denied = False
        self.next_at = now
        self._state, self._relay, self._connected, self._tell = state, relay, connected, tell
        self._visit: Optional[Visit] = None
        self._failures = 0
        self._is_new_to_us = False
        # What was met at each of the places when it was last tried.
        self._met: Dict[str, OSError] = {}

    def drop(self) -> None:
        """In a forked child, see `Carrier.drop`."""
        if self._visit is not None:
            self._visit.drop()
        self.starter.leave()

    # Called with the lock held.

    def connect_if_due(self, now: float) -> None:
        self._arrive(now)
        # The pause may be for an idle process, and there are events now.
        is_early = not self.is_denied and self.next_at > now + CONNECT_PAUSE_MAX and self._state.in_memory() > 0
        if self._state.connection is None and (now >= self.next_at or is_early):
            self.connect(now)

    def connect(self, now: float) -> None:
        """Tries each place, without waiting. Also by a call of the application."""
        for place in self.places:
            try:
                connection = place.connect()
            except OSError as error:
                # It is kept, and would keep the application's frames with it.
                self._met[place.path] = error.with_traceback(None)
                continue
            return self._found(place, connection, now)
        # The thread tells it, which may do something about it first.
        if self._relay is None:
            self.is_away = True
        else:
            self._go_to(self._relay)
        self.lost(now)

    def lost(self, now: float) -> None:
        """There is no connection now: when to try again."""
        is_idle = self.is_denied or not self._state.in_memory()
        longest = CONNECT_PAUSE_IDLE_MAX if is_idle else CONNECT_PAUSE_MAX
        pause = min(CONNECT_PAUSE_FIRST * 2 ** min(self._failures, 16), longest)
        self._failures += 1
        self.next_at = now + pause * random.uniform(0.5, 1.0)

    def _found(self, place: Place, connection: socket.socket, now: float) -> None:
        self.place, self.is_away, self._is_new_to_us = place, False, True
        self._connected(connection, now)

    def _go_to(self, relay: Relay) -> None:
        """The first time for a call, so also at the end of a process, which begins no thread any more."""
        if self._visit is not None:
            if self._visit.is_new:
                return
            self._visit.leave()
        self._visit = Visit(relay, self._tell)
        self._visit.begin()

    def _arrive(self, now: float) -> None:
        """Takes the relay's connection once it is there."""
        visit, relay = self._visit, self._relay
        outcome = visit.take() if visit is not None else None
        if visit is None or relay is None or outcome is None:
            return
        if isinstance(outcome, OSError):
            self.is_away = True
            self._met[relay.path] = outcome
        elif self._state.connection is None:
            self._found(relay, outcome, now)
        else:
            # There was a socket meanwhile.
            outcome.close()
            visit.leave()

    # Called without it.

    def progressed(self) -> None:
        """The agent has done something for us."""
        self._failures, self.is_denied = 0, False

    def spool(self) -> str:
        """The folder of the agent that there is, or is to be expected."""
        return _place.choose(self.places, self.place or self._relay).spool

    def missed_some(self) -> None:
        """There are files that the agent can take now. A socket's looks for them by itself."""
        if self._visit is not None:
            self._visit.look()

    def is_handing_in(self) -> bool:
        """Whether the relay is taking in what it missed."""
        return self._visit is not None and self._visit.is_handing_in

    def leave(self) -> None:
        """Nothing more is wanted of a relay."""
        visit, relay = self._visit, self._relay
        if visit is None or relay is None:
            return
        if visit.is_new and self._state.counts["spooled"]:
            # A process that lasts hears of it in time.
            self._met[relay.path] = OSError(errno.ETIMEDOUT, "it was not reached in time")
            self._tell_away(None)
        visit.leave()

    def start(self, now: float) -> None:
        """Starts an agent if none was found, or an older one, and this installation can. Else says that there is none."""
        starter, place = self.starter, self.place
        if starter.look(now) and starter.outcome is not None and self.started(starter.outcome):
            self.next_at = now
        elif self.is_away and starter.pipe is None:
            may_begin = starter.may_begin(now) and _trouble.is_nobody(list(self._met.values()))
            if not (may_begin and starter.begin(now)):
                self._tell_away(starter.outcome)
        elif self._is_new_to_us and place is not None:
            self._is_new_to_us = False
            if starter.may_begin(now) and _card.is_older(place):
                starter.begin(now)

    def started(self, outcome: Outcome) -> bool:
        """Tells what came of it. Whether an agent is there."""
        if outcome.is_there:
            version = " %s" % outcome.version if outcome.version else ""
            _log.logger.info("revenium-agent%s %s", version, outcome.how)
        elif self.is_away:
            self._tell_away(outcome)
        return outcome.is_there

    def _tell_away(self, outcome: Optional[Outcome]) -> None:
        reason = None if outcome is None or outcome.is_there else outcome.reason
        _log.warning_once("agent", "%s", _trouble.of_connecting(list(self._met.items()), self.spool(), reason))
