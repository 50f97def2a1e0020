"""Handing events over where there are no Unix sockets, as on Windows: by way of files.

A background thread gathers events for a moment and writes them to a file of the spool's format, flushed and whole or not
at all. If the environment names an agent's relay, it hands the files in there, those of earlier processes too (`_hand_in`).
At the end of the process the last events are in a file; what is killed loses those of the last moment.
"""

import itertools
import math
import os
import queue
import re
import sys
import tempfile
import threading
import time
from typing import Dict, List, Optional, Tuple

from . import _emitter, _hand_in, _key, _log, _relay
from ._emitter import lose
from ._guard import safely
from ._place import absolute
from ._spool import FILE_BYTES_MAX, OWN_BYTES_MAX, OWN_FILES_MAX
from ._state import LINE_BYTES_MAX, MEMORY_BYTES_MAX, MEMORY_EVENTS_MAX, new_producer

# How long events gather for one file, and how often a relay or a disk that failed is tried again.
GATHER_FOR = 0.2
AGAIN_AFTER = 2.0

# How long the end of the process may be held up.
CLOSE_WITHIN = 2.0


class Keeper:
    """See the module's text."""

    def __init__(self) -> None:
        env = os.environ
        folder = absolute(env, "REVENIUM_AGENT_SPOOL") or os.path.join(_data_folder(), "revenium", "spool")
        self.relay = _relay.of_environment(env, folder)
        self.folder = folder if self.relay is None else self.relay.spool
        self.counts: Dict[str, int] = {"emitted": 0, "sent": 0, "durable": 0, "spooled": 0, "lost": 0}
        self._producer, self._key = new_producer(), _key.of_environment(env)
        self._numbers = itertools.count(1)
        # Unlike a lock, it may be used by a finalizer that runs within its own use.
        self._arrived: "queue.SimpleQueue[Optional[Tuple[int, bytes]]]" = queue.SimpleQueue()
        self._kept: List[Tuple[int, bytes]] = []
        self._kept_bytes = 0
        self._hand_in_at = 0.0
        # Held where `_kept` is used. Taken again by the same thread only while `_is_inside` tells it to leave the work to
        # itself.
        self._lock = threading.RLock()
        self._is_inside = False
        self._may_begin = threading.Lock()
        self._thread: Optional[threading.Thread] = None
        self._is_closed = False
        self._hand_in_by = math.inf
        if self.relay is None:
            text = "no agent is reached, as there are no Unix sockets: calls are kept in %s. Name an agent's relay in %s"
            _log.warning_once("platform", text, self.folder, _relay.VARIABLE)
        # In a child of `multiprocessing` nothing of `atexit` runs.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, close, exitpriority=-100)

    def emit(self, body: bytes) -> None:
        self.counts["emitted"] += 1
        n = next(self._numbers)
        content = b'{"n":%d,%b' % (n, body)
        if len(content) > LINE_BYTES_MAX or self.in_memory() > MEMORY_EVENTS_MAX:
            self._lose(1, "it is larger than the agent takes, or memory is full")
            return
        self._arrived.put((n, content))
        if self._is_closed:
            self._keep_all()
        elif self._thread is None and self._may_begin.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run, name="revenium", daemon=True)
            self._thread.start()

    def in_memory(self) -> int:
        return self._arrived.qsize() + len(self._kept)

    def close(self) -> None:
        self._hand_in_by = time.monotonic() + CLOSE_WITHIN
        self._is_closed = True
        self._keep_all()
        if self._thread is not None:
            self._arrived.put(None)
            # It may be waiting for the relay.
            self._thread.join(CLOSE_WITHIN)
        if self._thread is None or not self._thread.is_alive():
            self._hand_in()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._gather()
                self._hand_in()
            except Exception:
                _log.bug("the background thread")
                time.sleep(GATHER_FOR)

    def _gather(self) -> None:
        """Waits for an event, or until something is to be tried again, and keeps it with what comes right after."""
        is_behind = bool(self._kept) or self.relay is not None
        try:
            event = self._arrived.get(timeout=AGAIN_AFTER if is_behind else None)
        except queue.Empty:
            event = None
        with self._lock:
            self._is_inside = True
            try:
                self._take(event)
                by = time.monotonic() + GATHER_FOR
                while event and not self._is_closed and time.monotonic() < by and self._kept_bytes < FILE_BYTES_MAX // 2:
                    time.sleep(GATHER_FOR / 10)
                    self._take_all()
                self._keep()
            finally:
                self._is_inside = False

    def _take(self, event: Optional[Tuple[int, bytes]]) -> None:
        if event is None:
            return
        if self._kept_bytes + len(event[1]) > MEMORY_BYTES_MAX:
            self._lose(1, "memory and spool are full")
        else:
            self._kept.append(event)
            self._kept_bytes += len(event[1])

    def _take_all(self) -> None:
        while True:
            try:
                self._take(self._arrived.get_nowait())
            except queue.Empty:
                return

    # Into a file.

    def _keep_all(self) -> None:
        """The last ones, in the thread that ends the process."""
        left: List[Tuple[int, bytes]] = []
        while self._arrived.qsize() or self._kept:
            with self._lock:
                if self._is_inside:
                    # A finalizer, within the very lines below, which go round once more.
                    return
                self._is_inside = True
                try:
                    self._take_all()
                    self._keep()
                    left += self._kept
                    self._kept, self._kept_bytes = [], 0
                finally:
                    self._is_inside = False
        if left:
            self._lose(len(left), "there was no room to keep it")

    def _keep(self) -> None:
        while self._kept:
            self._kept.sort()
            size, count = 0, 0
            for _, content in self._kept:
                if size + len(content) > FILE_BYTES_MAX:
                    break
                size, count = size + len(content), count + 1
            lines = self._kept[:count]
            try:
                self._write("%s-%d.jsonl" % (self._producer, lines[0][0]), size, [content for _, content in lines])
            except OSError as error:
                _log.error_once("spool", "cannot keep calls in %s: %s", self.folder, error)
                return
            del self._kept[:count]
            self._kept_bytes -= size
            self.counts["spooled"] += count
            _log.over("spool")

    def _write(self, name: str, size: int, lines: List[bytes]) -> None:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        sizes = [os.path.getsize(path) for path in self._files()]
        if len(sizes) >= OWN_FILES_MAX or sum(sizes) + size > OWN_BYTES_MAX:
            raise OSError("it holds %d files of %d bytes in all, which is its limit" % (len(sizes), sum(sizes)))
        unfinished = os.path.join(self.folder, "." + name)
        try:
            file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(file, "wb") as stream:
                stream.write(b"".join([_key.hello(self._producer, self._key, is_spooled=True), *lines]))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(unfinished, os.path.join(self.folder, name))
        except BaseException:
            try:
                os.unlink(unfinished)
            except OSError:
                pass
            raise

    def _files(self) -> List[str]:
        """Finished files, of this process and of others."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return [os.path.join(self.folder, name) for name in sorted(names) if re.fullmatch(r"[0-9a-f]+-\d+\.jsonl", name)]

    # To the relay.

    def _hand_in(self) -> None:
        if self.relay is None or time.monotonic() < self._hand_in_at:
            return
        try:
            _hand_in.hand_in(self.relay, lambda: time.monotonic() < self._hand_in_by)
            _log.over("relay away")
        except OSError as error:
            text = "no agent at %s (%s): calls are kept in %s until it is there"
            _log.warning_once("relay away", text, self.relay.path, error, self.folder)
        if self._files():
            # There are some that it does not take now.
            self._hand_in_at = time.monotonic() + AGAIN_AFTER

    def _lose(self, count: int, why: str) -> None:
        self.counts["lost"] += count
        _log.error_once("lost " + why, "a call was not metered: %s", why)


def _data_folder() -> str:
    """Where programs of this user keep their own."""
    for folder in (os.environ.get("LOCALAPPDATA", ""), os.path.expanduser("~")):
        if os.path.isabs(folder):
            return folder
    return tempfile.gettempdir()


__all__ = ["emit", "flush", "lose", "stats"]

_keepers: Dict[int, Keeper] = {}


def _own() -> Keeper:
    """This process's. A child that was forked has none of its parent's thread, and its parent keeps what it has."""
    pid = os.getpid()
    keeper = _keepers.get(pid)
    return keeper if keeper is not None else _keepers.setdefault(pid, Keeper())


def emit(body: bytes) -> None:
    """As `_emitter.emit`."""
    if _emitter.is_disabled:
        return
    _own().emit(body)


def flush(within: float = 5.0) -> bool:
    """As `_emitter.flush`."""
    by, keeper = time.monotonic() + within, _keepers.get(os.getpid())
    while keeper is not None and keeper.in_memory():
        if time.monotonic() >= by:
            return False
        time.sleep(0.01)
    return True


def stats() -> Dict[str, int]:
    """As `_emitter.stats`."""
    keeper = _keepers.get(os.getpid())
    if keeper is None:
        return _emitter.stats()
    return _emitter.with_bugs({**keeper.counts, "in_memory": keeper.in_memory()})


def close() -> None:
    """Writes what is left."""
    keeper = _keepers.get(os.getpid())
    if keeper is not None:
        safely("ending", keeper.close)


_emitter.at_exit.append(close)
