"""The background thread: connects, sends what a call could not, reads answers, and spools.

One per process, started by its first event. It never holds the lock over a wait, and every wait ends: at an answer,
when it is woken, or when something is due. What waits for as long as a network likes is not done here (`_visit`).

A thread that waits for the interpreter is woken whenever another lets go of it for a moment, and each call does so a few
times: to want it seldom is what keeps calls fast. So while there are many calls, they read the answers themselves.
"""

import math
import socket
import threading
import time
from typing import Callable, List, Optional, Tuple

from . import _key, _log, _wait
from ._answers import Answer, Inbox
from ._find import Finder
from ._keep import Keeper
from ._key import Key
from ._place import Place
from ._relay import Relay
from ._state import State

# The pause before sending again what the agent had no room for; it doubles.
RESEND_PAUSE_FIRST = 0.1
RESEND_PAUSE_MAX = 2.0

# How often to look while something is in memory.
LOOK_EVERY = 1.0
LOOK_EVERY_AWAY = 0.2
# So long after answers were read others are left to gather, since to read them the thread needs the interpreter.
GATHER_FOR = 1.0
# After so many events a call reads what has been answered. Far below what may be outstanding.
READ_EVERY = 64

# Answers to some hundred events.
ANSWERS_BYTES = 8 << 10


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
        self.state, self.lock, self.key = state, lock, key
        self.finder = Finder(state, places, relay, key, self.connected, self.wake, now)
        # Whether the last connection held until closing was done.
        self.was_connected = False
        self.close_within: Optional[Tuple[float, float]] = None
        # Of everybody who waits for that.
        self.flushes_by: List[float] = []
        self.progress = threading.Condition(threading.Lock())
        self.has_ended = False
        self.is_asleep = False
        self._admit = admit
        self._waker = _wait.Waker()
        self._inbox = Inbox()
        # What calls have read: answers that are for the thread to act on, and whether others were acted on.
        self._left_to_it: List[Answer] = []
        self._has_progressed = False
        self._is_reading = False
        # An answer was lost on the way: what comes behind it on this connection means nothing.
        self._is_garbled = False
        self._read_at = 0
        self._keeper = Keeper(state, lock, lambda: self.hello(is_spooled=True), now)
        self._resend_at = now
        self._resend_pause = RESEND_PAUSE_FIRST
        self._gather_until = now

    def wake(self) -> None:
        """Makes it look at once. Called with or without the lock."""
        self.is_asleep = False
        self._waker.wake()

    def drop(self) -> None:
        """In a forked child: closes its copies of what is its parent's."""
        self._waker.drop()
        if self.state.connection is not None:
            self.state.connection.close()
        self.finder.drop()

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

    def connected(self, connection: socket.socket, now: float) -> None:
        """Begins a connection. Called with the lock held, also by a call of the application."""
        self.state.connected(connection, self.hello())
        self._keeper.progressed(now)
        self._inbox = Inbox()
        self._left_to_it.clear()
        self._gather_until = now
        self._is_garbled = False

    def hello(self, is_spooled: bool = False) -> bytes:
        """Who we are, and whose calls these are."""
        return _key.hello(self.state.producer, self.key, is_spooled)

    def _step(self) -> bool:
        """Does what is due. False when there is nothing more to do, ever."""
        self._admit()
        now = time.monotonic()
        with self.lock:
            self.finder.connect_if_due(now)
        self.finder.start(now)
        self._read(now)
        with self.lock:
            if self.state.is_broken:
                self._lost(now)
            if self.state.is_held and not self.state.sent and now >= self._resend_at:
                self.state.resend()
            if self.state.switch_producer():
                self.finder.next_at = now
        self._pump()
        while self._is_keeping_due() and self._keep():
            pass
        return self._look()

    def _pump(self) -> None:
        while True:
            with self.lock:
                if not self.state.may_pump():
                    return
                if not self.state.pump():
                    return

    # What the agent says.

    def read_soon(self) -> None:
        """Reads what there is after some events, or if some wait for room; in a call that holds the lock. Acts on what is
        durable, and leaves the rest to the thread."""
        state = self.state
        sent = state.counts["sent"]
        if sent - self._read_at < READ_EVERY and not state.unsent and not state.fills(1):
            return
        if state.connection is None or state.is_broken or self._is_reading or self._is_urgent():
            return
        self._read_at = sent
        try:
            if self._take_answers(state.connection.recv(ANSWERS_BYTES)):
                self._gather_until = time.monotonic() + GATHER_FOR
                return
            # The thread's to act on.
            self._gather_until = 0.0
        except (BlockingIOError, InterruptedError):
            return
        except BaseException as error:
            # An answer may be gone, and a later one would pass for it.
            state.is_broken = self._is_garbled = True
            if not isinstance(error, OSError) or error.errno is None:
                # The application's, raised by a signal.
                self.wake()
                raise
        self.wake()

    def _take_answers(self, content: bytes) -> bool:
        """Acts on those of what is durable, up to the first of another kind. False if there is one, or the end."""
        for answer in self._inbox.take(content):
            if answer.is_durable and not self._left_to_it:
                self._has_progressed = self.state.durable(answer.n or 0) > 0 or self._has_progressed
            else:
                self._left_to_it.append(answer)
        return bool(content) and not self._left_to_it

    def _read(self, now: float) -> None:
        with self.lock:
            # From here on calls read nothing.
            self._is_reading = True
        try:
            self._read_all(now)
        finally:
            self._is_reading = False

    def _read_all(self, now: float) -> None:
        if self._has_progressed:
            self._has_progressed = False
            self._well(now)
        answers, self._left_to_it = self._left_to_it, []
        connection = self.state.connection
        while connection is not None and connection is self.state.connection and not self._is_garbled:
            for answer in answers:
                if not self._answered(answer, now):
                    return
            if self._is_gathering(now):
                return
            try:
                content = connection.recv(ANSWERS_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                content = b""
            if not content:
                with self.lock:
                    return self._lost(now)
            answers = self._inbox.take(content)
            if len(content) < ANSWERS_BYTES:
                self._gather_until = now + GATHER_FOR

    def _is_gathering(self, now: float) -> bool:
        """Whether answers are left to gather: nobody waits for them, and no event for room."""
        state = self.state
        waits = state.is_cut() or state.unsent or state.is_held
        return now < self._gather_until and not waits and not self._is_urgent()

    def _is_urgent(self) -> bool:
        """Whether somebody waits for what is answered."""
        return self.close_within is not None or bool(self.flushes_by)

    def _answered(self, answer: Answer, now: float) -> bool:
        """Acts on an answer. False if it ended the connection. What it says is told without the lock, since it is the
        application that decides where."""
        if answer.is_durable:
            with self.lock:
                is_known = self.state.durable(answer.n or 0) > 0
            if is_known:
                self._well(now)
        elif answer.wants_key:
            self._tell_key()
        elif answer.is_of_key:
            _log.error_once("key refused", "the agent did not take the API key (%s): %s", answer.code, answer.message)
        elif answer.n is None:
            # The agent wants nothing of this connection. One that stops is no refusal: the next is found soon.
            self.finder.is_denied = answer.code != "stopping"
            with self.lock:
                self._lost(now)
            _log.warning_once("refused", "the agent does not serve this process: %s", answer.message)
            return False
        else:
            with self.lock:
                is_known = self.state.refused(answer.n, answer.is_for_now)
            if is_known:
                self._refused(answer, now)
        return True

    def _well(self, now: float) -> None:
        """It takes events."""
        self._progressed(now)
        self._resend_pause = RESEND_PAUSE_FIRST
        if self._keeper.files:
            self.finder.missed_some()
            self._keeper.files = 0
        _log.over("agent")
        _log.over("room")

    def _refused(self, answer: Answer, now: float) -> None:
        if not answer.is_for_now:
            self._progressed(now)
            _log.logger.warning("a call was not metered: the agent refused it (%s): %s", answer.code, answer.message)
            return
        if self._resend_at <= now:
            self._resend_at = now + self._resend_pause
            self._resend_pause = min(self._resend_pause * 2, RESEND_PAUSE_MAX)
        _log.warning_once("room", "the agent takes nothing for now: %s", answer.message)

    def _tell_key(self) -> None:
        connection = self.state.connection
        if self.key is None or self.key.trouble or connection is None:
            return
        if _key.may_be_told(connection):
            with self.lock:
                self.state.say(self.key.line())
        else:
            _log.error_once("key", "an agent of another user's asks for the API key; it is not told")

    def _progressed(self, now: float) -> None:
        self._keeper.progressed(now)
        self.finder.progressed()

    def _lost(self, now: float) -> None:
        self.state.disconnected()
        self.finder.lost(now)

    # What goes to the spool.

    def keep_rest(self) -> None:
        """Spools what is left, in the place of a thread that hangs."""
        while self._keep():
            pass
        if self.state.in_memory():
            _log.logger.error("calls may not be metered: the disk is too slow, or there is no room to keep them")

    def left(self) -> List[str]:
        """Spool files of this process that no agent has taken in yet."""
        return self._keeper.left()

    def _keep(self) -> bool:
        return self._keeper.keep(self.finder.spool())

    def _is_keeping_due(self) -> bool:
        return self._keeper.is_due(time.monotonic(), self.finder.is_away or self.finder.is_denied, self._urgent_at())

    def _urgent_at(self) -> float:
        """When what the agent has not answered for is to be spooled, if somebody waits for that."""
        wanted, close_within = [*self.flushes_by], self.close_within
        if close_within is not None:
            wanted.append(sum(close_within) / 2)
        return min(wanted, default=math.inf)

    # Waiting.

    def _look(self) -> bool:
        """Tells those who wait for progress. False when closing is done."""
        with self.progress:
            self.progress.notify_all()
        if self.close_within is None:
            return True
        now = time.monotonic()
        # As much of what a relay missed as there is time for.
        is_handing_in = self.finder.is_handing_in() and now < self._urgent_at()
        with self.lock:
            if (self.state.in_memory() or is_handing_in) and now < self.close_within[1]:
                return True
            lost = self.state.abandon()
            self.was_connected = self.state.connection is not None
            self.state.disconnected()
        self.finder.leave()
        if lost:
            _log.logger.error("calls were not metered: there was no time or room to keep them")
        return False

    def _wait(self) -> None:
        # Before anything is looked at that whoever wakes us may have changed.
        waker, now = self._waker, time.monotonic()
        due: List[float] = []
        to_read: List[int] = []
        to_write: List[int] = []
        to_end: List[int] = []
        woken = waker.prepare()
        if woken is None:
            due.append(now + LOOK_EVERY_AWAY)
        else:
            to_read.append(woken)
        is_urgent = self._is_urgent()
        with self.lock:
            state = self.state
            is_gathering = self._is_gathering(now)
            connection = state.connection
            if state.in_memory():
                due.append(now + (LOOK_EVERY if connection else LOOK_EVERY_AWAY))
            if connection is None:
                due.append(self.finder.next_at)
            if state.is_held and not state.sent:
                due.append(self._resend_at)
            starter = self.finder.starter
            if starter.pipe is not None:
                to_read.append(starter.pipe.fileno())
                due.append(starter.ends_by)
            if is_urgent:
                due.append(min(max(self._urgent_at(), now + 0.01), now + LOOK_EVERY))
            if is_gathering and connection is not None:
                due.append(self._gather_until)
                to_end.append(connection.fileno())
            elif connection is not None:
                to_read.append(connection.fileno())
                # Also if a call has left it since it was tried here.
                if state.may_pump():
                    to_write.append(connection.fileno())
            # From here on whoever leaves something that could not be sent wakes us.
            self.is_asleep = True
        self._admit()
        ready, _ = _wait.ready(to_read, to_write, max(0.0, min(due) - now) + 0.001 if due else None, to_end)
        if not set(to_end).isdisjoint(ready):
            self._gather_until = now
        if woken in ready:
            waker.woken()
        self.is_asleep = False
