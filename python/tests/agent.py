"""A stand-in for the agent: its socket, its answers, and the ways in which it can fail."""

import json
import os
import socket
import threading
import time
from typing import Any, Dict, List, Optional, Tuple


class Agent:
    """Takes every line, once for each producer and number, as the agent does."""

    def __init__(self, path: str) -> None:
        self.path = path
        # What was taken, in order of its arrival.
        self.lines: Dict[Tuple[str, int], Dict[str, Any]] = {}
        self.received = 0
        self.hellos: List[Dict[str, Any]] = []
        # Somebody sent what is no line.
        self.is_confused = False
        # What to answer in place of "durable": nothing, or a refusal with this code.
        self.is_silent = False
        self.refuses: Optional[str] = None
        self.message = "as told"
        # A profile that it has no room for, and how long it thinks about each line of a producer.
        self.full_for: Optional[str] = None
        self.pause_of: Dict[str, float] = {}
        # It asks everybody for a key, also who has offered none, and was told these.
        self.wants_keys = False
        self.keys: List[Dict[str, str]] = []
        self.changed = threading.Condition()
        self._connections: List[socket.socket] = []
        self._listener: Optional[socket.socket] = None

    def start(self, listens_as: Optional[int] = None) -> "Agent":
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        # The kernel tells a peer who it was that listened.
        if listens_as is not None:
            os.seteuid(listens_as)
        self._listener.listen(64)
        if listens_as is not None:
            os.seteuid(os.getuid())
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """As when it is killed: every connection ends."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        os.unlink(self.path)
        self.drop()

    def drop(self) -> None:
        """Ends every connection."""
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def calls(self) -> List[Dict[str, Any]]:
        return [line["call"] for line in self.lines.values()]

    def wait(self, holds: Any) -> None:
        """Returns once it holds."""
        with self.changed:
            assert self.changed.wait_for(holds, 30), (self.received, self.calls())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        producer, is_full = "", False
        # It is read to its end, and then closed.
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    if not line.endswith(b"\n"):
                        return
                    try:
                        read = json.loads(line)
                    except ValueError:
                        self.is_confused = True
                        return
                    if "hello" in read and "producer" not in read["hello"]:
                        self._answer(connection, {"ok": False, "code": "invalid", "message": "no such hello"})
                        return
                    if "hello" in read:
                        producer = read["hello"]["producer"]
                        is_full = self.full_for is not None and read["hello"].get("profile") == self.full_for
                        with self.changed:
                            self.hellos.append(read["hello"])
                            self.changed.notify_all()
                        if self.refuses == "denied":
                            self._answer(connection, {"ok": False, "code": "denied", "message": "not you"})
                            return
                        if self.wants_keys:
                            self._answer(connection, {"want": "key"})
                        continue
                    if "key" in read:
                        with self.changed:
                            self.keys.append(read["key"])
                            self.changed.notify_all()
                        if self.refuses == "key":
                            said = {"code": "invalid", "field": "key.value", "message": "as told"}
                            self._answer(connection, {"ok": False, **said})
                        continue
                    time.sleep(self.pause_of.get(producer, 0))
                    self._take(connection, producer, read, "full" if is_full else self.refuses)
            except OSError:
                pass

    def _take(self, connection: socket.socket, producer: str, line: Dict[str, Any], refuses: Optional[str]) -> None:
        n = line.pop("n")
        is_refused = refuses is not None and refuses != "key"
        answer = {"ok": True, "upto": n} if not self.is_silent else None
        if is_refused:
            answer = {"ok": False, "n": n, "code": refuses, "message": self.message}
        with self.changed:
            self.received += 1
            if not is_refused:
                self.lines.setdefault((producer, n), line)
            self.changed.notify_all()
        if answer:
            self._answer(connection, answer)

    def _answer(self, connection: socket.socket, answer: Dict[str, Any]) -> None:
        connection.sendall(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
