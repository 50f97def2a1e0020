"""The background thread: connects, sends what a call could not, reads answers, and spools.

One per process, started by its first event; a daemon, so that it never keeps a process alive. It never holds the
lock over a wait, and every wait ends: at an answer, when it is woken, or when something is due.
"""

import math
import os
import random
import select
import socket
import threading
import time
from typing import Callable, List, Optional, Tuple

from . import _card, _key, _log, _place, _spool, _trouble
from ._answers import Answer, Inbox
from ._key import Key
from ._place import Place
from ._relay import Relay
from ._start import Outcome, Starter
from ._state import Line, State

# The pause after the first failed connect; it doubles, and is scaled by a random factor in 0.5..1.0, so that
# processes that lost an agent together do not come back together.
CONNECT_PAUSE_FIRST = 0.01
CONNECT_PAUSE_MAX = 1.0
# With nothing in memory, or when the agent wants nothing of us.
CONNECT_PAUSE_IDLE_MAX = 10.0

# The pause before sending again what the agent had no room for; it doubles.
RESEND_PAUSE_FIRST = 0.1
RESEND_PAUSE_MAX = 2.0

# An agent that answers nothing for so long is as good as away.
STALLED_AFTER = 2.0
# The pause after a spool file, for each file of this outage, so that a long one makes few files.
SPOOL_PAUSE = 0.1
SPOOL_PAUSE_MAX = 30.0

# How often to look while something is in memory.
LOOK_EVERY = 1.0
LOOK_EVERY_AWAY = 0.2
# So long after an answer others are left to gather, since reading them takes the application's processor.
GATHER_FOR = 0.05


class Carrier:
    """See the module's text. `lock` guards `state`; `admit` takes what calls have left for it."""

    def __init__(
        self,
        state: State,
        lock: "threading.RLock",
        places: List[Place],
        relay: Optional[Relay],
        key: Optional[Key],
        admit: Callable[[], None],
        now: float,
    ) -> None:
        self.state, self.lock, self.places, self.relay, self.key = state, lock, places, relay, key
        # A relay is an agent's.
        self.starter = Starter(relay is None and key is not None and not key.trouble)
        self.place: Optional[Place] = None
        # Whether the last connection held until closing was done.
        self.was_connected = False
        # Nobody was found where the agent could be, or it turned us away and has answered nothing since.
        self.is_away = self.is_denied = False
        self.close_within: Optional[Tuple[float, float]] = None
        self.flush_by: Optional[float] = None
        self.progress = threading.Condition(threading.Lock())
        self.has_ended = False
        self.is_asleep = False
        self._admit = admit
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._inbox = Inbox()
        self._writer = _spool.Writer()
        self._connect_at = self._resend_at = self._spool_at = self._quiet_since = now
        self._failures = self._files = self._spool_failures = 0
        self._resend_pause = RESEND_PAUSE_FIRST
        self._is_full = self._is_new_to_us = False
        self._gather_until = now
        self._met: List[Tuple[str, OSError]] = []

    def wake(self) -> None:
        """Makes it look at once. Called with or without the lock."""
        self.is_asleep = False
        try:
            os.write(self._wake_write, b"\0")
        except OSError:
            pass  # It was woken so often that it will look anyway, or has ended.

    def drop(self) -> None:
        """In a forked child: closes its copies of what is its parent's."""
        for end in (self._wake_read, self._wake_write):
            os.close(end)
        if self.state.connection is not None:
            self.state.connection.close()
        self.starter.leave()

    def run(self) -> None:
        """Runs to the end: until closing is done. An error of ours begins it anew."""
        while True:
            try:
                while self._step():
                    self._wait()
                break
            except Exception:
                _log.bug("the background thread")
                time.sleep(LOOK_EVERY)
        with self.progress:
            self.has_ended = True
            self.progress.notify_all()

    def connect(self, now: float) -> bool:
        """Tries each place, without waiting. Called with the lock held, also by a call of the application."""
        failed: List[Tuple[str, OSError]] = []
        for place in self.places:
            try:
                connection = place.connect()
            except OSError as error:
                # It is kept, and would keep the application's frames with it.
                failed.append((place.path, error.with_traceback(None)))
                continue
            self._connected(place, connection, now)
            return True
        # The thread tells it, which may do something about it first.
        self.is_away, self._met = self.relay is None, failed
        self._back_off(now)
        return False

    def _connected(self, place: Place, connection: socket.socket, now: float) -> None:
        self.state.connected(connection, self.hello())
        self.place, self._quiet_since = place, now
        self._inbox = Inbox()
        self.is_away = self._is_full = False
        self._is_new_to_us = True

    def _try_relay(self, relay: Relay, now: float) -> None:
        """Where no socket is. It waits, so without the lock."""
        try:
            connection = relay.connect()
        except OSError as error:
            self._met.append((relay.path, error.with_traceback(None)))
            self.is_away = True
            return
        with self.lock:
            self._connected(relay, connection, now)
        relay.hand_in(lambda: time.monotonic() < self._urgent_at())

    def _may_connect_early(self, now: float) -> bool:
        """Whether the pause is for an idle process, and there are events now."""
        return not self.is_denied and self._connect_at > now + CONNECT_PAUSE_MAX and self.state.in_memory() > 0

    def hello(self, is_spooled: bool = False) -> bytes:
        """Who we are, and whose calls these are."""
        return _key.hello(self.state.producer, self.key, is_spooled)

    def _step(self) -> bool:
        """Does what is due. False when there is nothing more to do, ever."""
        self._admit()
        now = time.monotonic()
        with self.lock:
            is_due = now >= self._connect_at or self._may_connect_early(now)
            is_missing = self.state.connection is None and is_due and not self.connect(now)
        if is_missing and self.relay is not None:
            self._try_relay(self.relay, now)
        self._start(now)
        self._read(now)
        with self.lock:
            if self.state.is_broken:
                self._lost(now)
            if self.state.is_held and not self.state.sent and now >= self._resend_at:
                self.state.resend()
            if self.state.switch_producer():
                self._connect_at = now
        self._pump()
        self._spool_if_due(now)
        return self._look(now)

    def _pump(self) -> None:
        while True:
            with self.lock:
                if not self.state.may_pump():
                    return
                self._is_full = not self.state.pump() and not self.state.is_broken
                if self._is_full or self.state.is_broken:
                    return

    # Where no agent is.

    def _start(self, now: float) -> None:
        """Starts an agent if none was found, or an older one, and this installation can. Else says that there is none."""
        starter, place = self.starter, self.place
        if starter.look(now) and starter.outcome is not None and self.started(starter.outcome):
            self._connect_at = now
        elif self.is_away and starter.pipe is None:
            may_begin = starter.may_begin(now) and _trouble.is_nobody(self._met)
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
        spool = _place.choose(self.places, self.place or self.relay).spool
        reason = None if outcome is None or outcome.is_there else outcome.reason
        _log.warning_once("agent", "%s", _trouble.of_connecting(self._met, spool, reason))

    # What the agent says.

    def _read(self, now: float) -> None:
        connection = self.state.connection
        while connection is not None and connection is self.state.connection:
            try:
                content = connection.recv(8 << 10)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                content = b""
            if not content:
                with self.lock:
                    return self._lost(now)
            for answer in self._inbox.take(content):
                with self.lock:
                    if not self._answered(answer, now):
                        return
            self._gather_until = now + GATHER_FOR

    def _answered(self, answer: Answer, now: float) -> bool:
        """Acts on an answer. False if it ended the connection."""
        state = self.state
        if answer.is_durable:
            if state.durable(answer.n or 0):
                self._progressed(now)
                self._resend_pause, self._files = RESEND_PAUSE_FIRST, 0
                _log.over("agent")
                _log.over("room")
            return True
        if answer.wants_key:
            self._tell_key()
            return True
        if answer.is_of_key:
            _log.error_once("key refused", "the agent did not take the API key (%s): %s", answer.code, answer.message)
            return True
        if answer.n is None:
            # The agent wants nothing of this connection. One that stops is no refusal: the next is found soon.
            self.is_denied = answer.code != "stopping"
            _log.warning_once("refused", "the agent does not serve this process: %s", answer.message)
            self._lost(now)
            return False
        if state.refused(answer.n, answer.is_for_now):
            if answer.is_for_now:
                if self._resend_at <= now:
                    self._resend_at = now + self._resend_pause
                    self._resend_pause = min(self._resend_pause * 2, RESEND_PAUSE_MAX)
                _log.warning_once("room", "the agent takes nothing for now: %s", answer.message)
            else:
                self._progressed(now)
                _log.logger.warning(
                    "a call was not metered: the agent refused it (%s): %s", answer.code, answer.message
                )
        return True

    def _tell_key(self) -> None:
        connection = self.state.connection
        if self.key is None or self.key.trouble or connection is None:
            return
        if _key.may_be_told(connection):
            self.state.say(self.key.line())
        else:
            _log.error_once("key", "an agent of another user's asks for the API key; it is not told")

    def _progressed(self, now: float) -> None:
        self._quiet_since, self._failures, self.is_denied = now, 0, False

    def _lost(self, now: float) -> None:
        self.state.disconnected()
        self._back_off(now)

    def _back_off(self, now: float) -> None:
        is_idle = self.is_denied or not self.state.in_memory()
        longest = CONNECT_PAUSE_IDLE_MAX if is_idle else CONNECT_PAUSE_MAX
        pause = min(CONNECT_PAUSE_FIRST * 2 ** min(self._failures, 16), longest)
        self._failures += 1
        self._connect_at = now + pause * random.uniform(0.5, 1.0)

    # What goes to the spool.

    def _spool_if_due(self, now: float) -> None:
        while self._is_spooling_due(now):
            with self.lock:
                parked = self.state.park(_spool.FILE_BYTES_MAX)
                hello, producer = self.hello(is_spooled=True), self.state.producer
            if not parked or not self._spool(parked, hello, producer, now):
                return

    def _spool(self, parked: List[Line], hello: bytes, producer: str, now: float) -> bool:
        folder = _place.choose(self.places, self.place or self.relay).spool
        try:
            self._writer.write(folder, producer, parked[0].n, [hello, *(line.content for line in parked)])
        except (OSError, ValueError) as error:
            with self.lock:
                self.state.unpark(parked)
            self._spool_failures += 1
            self._spool_at = now + min(SPOOL_PAUSE * 2 ** min(self._spool_failures, 16), SPOOL_PAUSE_MAX)
            _log.error_once("spool", "cannot keep calls in %s: %s", folder, error)
            return False
        with self.lock:
            self.state.spooled(parked)
        self._files += 1
        self._spool_failures = 0
        self._spool_at = now + min(SPOOL_PAUSE * self._files, SPOOL_PAUSE_MAX)
        _log.over("spool")
        return True

    def _is_spooling_due(self, now: float) -> bool:
        state = self.state
        if not state.in_memory():
            self._quiet_since = now
            return False
        is_away = self.is_away or self.is_denied
        if self.close_within is not None or self.flush_by is not None:
            by = self._urgent_at()
            return (is_away or now >= by) and (not self._spool_failures or now >= self._spool_at)
        is_due = is_away or now - self._quiet_since >= STALLED_AFTER
        if self._spool_failures:
            return is_due and now >= self._spool_at
        # The last: an agent that is there and too slow.
        return (is_due and (now >= self._spool_at or state.fills(4))) or state.fills(7)

    def _urgent_at(self) -> float:
        """When what the agent has not answered for is to be spooled, if somebody waits for that."""
        flush_by, close_within = self.flush_by, self.close_within
        wanted = [flush_by] if flush_by is not None else []
        if close_within is not None:
            wanted.append(sum(close_within) / 2)
        return min(wanted, default=math.inf)

    def left(self) -> List[str]:
        """Spool files of this process that no agent has taken in yet."""
        return self._writer.left()

    # Waiting.

    def _look(self, now: float) -> bool:
        """Tells those who wait for progress. False when closing is done."""
        with self.progress:
            self.progress.notify_all()
        if self.close_within is None:
            return True
        with self.lock:
            if self.state.in_memory() and now < self.close_within[1]:
                return True
            if self.state.abandon():
                _log.logger.error("calls were not metered: there was no time or room to keep them")
            self.was_connected = self.state.connection is not None
            self.state.disconnected()
        return False

    def _wait(self) -> None:
        now = time.monotonic()
        is_urgent = self.close_within is not None or self.flush_by is not None
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        with self.lock:
            state = self.state
            connection = state.connection
            due: List[float] = []
            if state.in_memory():
                due.append(now + (LOOK_EVERY if connection else LOOK_EVERY_AWAY))
            if connection is None:
                due.append(self._connect_at)
            if state.is_held and not state.sent:
                due.append(self._resend_at)
            if self.starter.pipe is not None:
                poll.register(self.starter.pipe, select.POLLIN)
                due.append(self.starter.ends_by)
            if is_urgent:
                due.append(min(max(self._urgent_at(), now + 0.01), now + LOOK_EVERY))
            if now < self._gather_until and not is_urgent:
                due.append(self._gather_until)
            elif connection is not None:
                poll.register(connection, select.POLLIN | (select.POLLOUT if self._is_full else 0))
            # From here on whoever leaves something that could not be sent wakes us.
            self.is_asleep = True
        self._admit()
        timeout = None if not due else max(0.0, min(due) - now) * 1000 + 1
        for ready, _ in poll.poll(timeout):
            if ready == self._wake_read:
                os.read(self._wake_read, 4096)
        self.is_asleep = False
