"""Handing events over, for a whole process: what calls see of it, and the process's forks and its end.

- `emit` numbers an event and hands it to the kernel by one send that does not wait. From then on the agent gets it,
  even if this process is killed. If there is no agent, it stays in memory for the background thread, which spools it.
- It may be called anywhere: in a signal handler, in a finalizer that ran while the same thread was in here.
- A process has events, numbers, connection and thread of its own. A forked child drops its parent's, which are its
  parent's to send, and touches no lock of its parent's.
- When the process ends normally, what the agent has not answered for within a second goes to the spool. What its end
  waits for besides, `_end` has.
"""

import atexit
import os
import sys
import threading
import time
from collections import deque
from typing import Callable, Deque, Dict, List

from . import _end, _key, _log, _place, _relay, _threads
from ._carrier import Carrier
from ._guard import safely
from ._state import State

# How long the end of the process may be held up. What the agent has not answered for by half of it is spooled.
CLOSE_WITHIN = 2.0

# The same for each call that comes after that.
LATE_WITHIN = 0.5

# What waiting for the thread may take beyond that.
CLOSE_SLACK = 0.25

# So that they are neither lost nor another's.
_NO_KEY = (
    "%s is no key of Revenium's: %s. Calls are kept apart, as %s, until a person says whose they are "
    "(`revenium-agent profile claim`)"
)

# Told before the last events are handed over, so that what is still open is metered.
at_exit: List[Callable[[], None]] = []


class Life:
    """What one process has of it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.state = State()
        # Taken again by the same thread only while `is_inside` tells it to leave the work to itself.
        self.lock = threading.RLock()
        self.is_inside = False
        self.arrived: Deque[bytes] = deque()
        places = _place.places(os.environ, os.geteuid())
        key = _key.of_environment(os.environ)
        if key is not None and key.trouble:
            _log.error_once("key", _NO_KEY, _key.KEY_VARIABLE, key.trouble, key.profile)
        relay = _relay.of_environment(os.environ, _place.relays_folder(os.environ, os.geteuid()))
        self.carrier = Carrier(self.state, self.lock, places, relay, key, self.admit, time.monotonic())
        self.has_thread = self.has_tried = self.is_closed = self.is_finishing = self.is_hung = False
        # In a child of `multiprocessing` nothing of `atexit` runs.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, close, exitpriority=-100)
        # In one of Celery's not even finalizers run.
        signals = sys.modules.get("celery.signals")
        if signals is not None:
            signals.worker_process_shutdown.connect(_closing, weak=False)

    def take(self) -> None:
        """Sees to what has arrived."""
        self.admit()
        if self.is_closed or sys.is_finalizing():
            # After the end of everything: by a finalizer, mostly.
            self._finish(LATE_WITHIN)
        elif not self.has_thread:
            self._start()

    def admit(self) -> None:
        """Takes what has arrived, and hands to the kernel what it can."""
        lost: List[str] = []
        try:
            while self.arrived:
                with self.lock:
                    if self.is_inside:
                        # A finalizer or a signal handler, within the very lines below, which go round once more.
                        return
                    self.is_inside = True
                    try:
                        self._admit(lost)
                    finally:
                        self.is_inside = False
        finally:
            # Without the lock: it is the application that decides where it is told, and how long that takes.
            for why in lost:
                _log.error_once("lost " + why, "a call was not metered: %s", why)

    def _admit(self, told: List[str]) -> None:
        state = self.state
        self.carrier.read_soon()
        while self.arrived:
            body = self.arrived.popleft()
            try:
                lost = state.admit(body)
            except Exception:
                lose()
                raise
            if lost and lost not in told:
                told.append(lost)
        if not self.has_tried:
            # The first event finds the agent itself, so that the kernel has it, too, when the call returns.
            self.has_tried = True
            self.carrier.finder.connect(time.monotonic())
        is_sent = state.pump() and not state.unsent
        if not is_sent and (self.carrier.is_asleep or state.fills(4)):
            self.carrier.wake()

    def _start(self) -> None:
        with self.lock:
            if self.has_thread:
                return
            self.has_thread = True
        # Where there is none to be had, the end of the process does the rest.
        self.has_thread = _threads.begin("revenium", self.carrier.run)

    def flush(self, within: float) -> bool:
        carrier = self.carrier
        by = time.monotonic() + within / 2
        carrier.flushes_by.append(by)
        carrier.wake()
        was_empty = False

        def is_over() -> bool:
            nonlocal was_empty
            was_empty = self._is_empty()
            return was_empty or carrier.has_ended

        try:
            with carrier.progress:
                carrier.progress.wait_for(is_over, within)
        finally:
            carrier.flushes_by.remove(by)
        # As it was then: a call that came since is another's concern.
        return was_empty

    def _is_empty(self) -> bool:
        return not self.arrived and self.state.in_memory() == 0

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._finish(CLOSE_WITHIN)
            _end.settle(self.carrier)

    def _finish(self, within: float) -> None:
        """Hands over or spools what is left: by the thread, or without it once it has ended."""
        if self.is_finishing:
            # A finalizer, within the very lines below.
            return
        self.is_finishing = True
        try:
            carrier, now = self.carrier, time.monotonic()
            carrier.close_within = (now, now + within)
            if self.has_thread and not self.is_hung:
                carrier.wake()
                with carrier.progress:
                    self.has_thread = not carrier.progress.wait_for(lambda: carrier.has_ended, within + CLOSE_SLACK)
                # At what is the application's, such as where it has what we say go.
                self.is_hung = self.has_thread
            if self.is_hung:
                carrier.keep_rest()
            while not self.has_thread and not self._is_empty() and time.monotonic() < now + within:
                carrier.run()
        finally:
            self.is_finishing = False


_lives: Dict[int, Life] = {}

is_disabled = os.environ.get("REVENIUM_METERING_DISABLED") == "1"

# Calls that an error of ours has cost this process, before they had a number.
_lost_to_bugs = 0


def emit(body: bytes) -> None:
    """Takes an event: the rest of a line after its number. Never waits. What it raises is a bug, and the event is not
    taken then."""
    if is_disabled:
        return
    if not _place.IS_POSSIBLE:
        _log.warning_once("platform", "calls are not metered: an agent is reached by a Unix socket, and there are none")
        return
    life = _own()
    life.arrived.append(body)
    # It will be handed over now or with the next.
    safely("handing a call over", life.take)


def lose() -> None:
    """An error of ours has cost a call, which is told where it ends."""
    global _lost_to_bugs
    if not is_disabled:
        _lost_to_bugs += 1


def flush(within: float = 5.0) -> bool:
    """Waits until every call so far is durable with the agent or in the spool, for so many seconds at most. Whether
    that is so."""
    life = _lives.get(os.getpid())
    return life is None or life.flush(within)


def stats() -> Dict[str, int]:
    """How many calls of this process were `emitted`, `sent` to the kernel, `durable`, `spooled`, `lost`, and how
    many are `in_memory`."""
    life = _lives.get(os.getpid())
    state = life.state if life else State()
    return with_bugs({**state.counts, "in_memory": state.in_memory()})


def with_bugs(counts: Dict[str, int]) -> Dict[str, int]:
    """These counts and the calls that an error of ours has cost."""
    return {**counts, "emitted": counts["emitted"] + _lost_to_bugs, "lost": counts["lost"] + _lost_to_bugs}


def close() -> None:
    """Hands over or spools what is left."""
    for tell in at_exit:
        try:
            tell()
        except Exception:
            # What is in memory is handed over all the same.
            _log.bug("ending")
    try:
        life = _lives.get(os.getpid())
        if life is not None:
            life.close()
    except Exception:
        _log.bug("ending")


def _closing(**_: object) -> None:
    close()


def _own() -> Life:
    """This process's life. A lock of its parent's may be held by a thread that it does not have, so there is none."""
    pid = os.getpid()
    life = _lives.get(pid)
    return life if life is not None else _lives.setdefault(pid, Life())


def _forked() -> None:
    """In a child: drops what is its parent's."""
    global _lives, _lost_to_bugs
    dropped, _lives, _lost_to_bugs = _lives, {}, 0
    for life in dropped.values():
        life.carrier.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(close)
