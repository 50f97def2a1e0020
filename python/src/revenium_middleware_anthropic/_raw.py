"""Watching a response that the application reads by itself: `with_raw_response` and `with_streaming_response`.

A body that was read already is looked at once. Of one that is still to come, the decoded bytes are looked at as they
pass; only the few events that say something about usage are parsed, and a line that is too long to be one of them is
skipped, not held.
"""

import json
import weakref
from typing import Any, List

from . import _facts, _stream
from ._call import Call

# Longest line of a stream that is looked at, and longest body that is not a stream.
LINE_BYTES_MAX = 1 << 20
BODY_BYTES_MAX = 64 << 20


def watch(response: Any, call: Call) -> None:
    """Watches an `httpx` response, of whichever of its two packages."""
    call.answered(response.headers)
    kind = response.headers.get("content-type", "")
    if "json" in kind and response.is_closed:
        call.message(json.loads(response.content))
        call.end()
        return
    is_events, is_json = "text/event-stream" in kind, "json" in kind
    if is_events or is_json:
        _stream.keep(response, call)
        _tap(response, Events(call) if is_events else Whole(call), call)
    else:
        # A cloud's own framing of events, which is watched as the stream that the SDK makes of it.
        _stream.keep_opaque(response, call)


def _tap(response: Any, body: Any, call: Call) -> None:
    """All ways to read a response, but for undecoded ones, go through these two methods."""
    # Not held by what it holds itself, so that it goes when it is dropped.
    own: Any = weakref.ref(response)
    kind: Any = type(response)

    def tapped(read: Any) -> Any:
        return lambda *args, **kwargs: _stream.watched(read(own(), *args, **kwargs), body.see, body.ended, call.failed)

    response.iter_bytes, response.aiter_bytes = tapped(kind.iter_bytes), tapped(kind.aiter_bytes)


class Whole:
    """A body that is one JSON object."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._content: List[bytes] = []
        self._room = BODY_BYTES_MAX

    def see(self, content: bytes) -> None:
        self._room -= len(content)
        if self._room > 0:
            self._content.append(content)

    def ended(self) -> None:
        self._call.message(json.loads(b"".join(self._content)))
        self._call.end()


class Events:
    """A body that is a stream of events."""

    def __init__(self, call: Call) -> None:
        self._call = call
        # One that grows in place: an application may read a long line in small pieces.
        self._rest = bytearray()
        self._name = ""

    def see(self, content: bytes) -> None:
        *lines, rest = content.split(b"\n")
        for line in lines:
            self._rest += line
            self._line(bytes(self._rest).strip())
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > LINE_BYTES_MAX:
            # Whatever it is, it says nothing about usage. A comment, as far as we care, to its end.
            self._rest[:] = b":"

    def ended(self) -> None:
        self._line(bytes(self._rest).strip())
        self._call.stopped()

    def _line(self, line: bytes) -> None:
        if line.startswith(b"event:"):
            self._name = line[6:].strip().decode("ascii", "replace")
        elif line.startswith(b"data:") and self._name == "error":
            self._call.end("error", _facts.of_error_body(json.loads(line[5:])))
        elif line.startswith(b"data:") and self._call.needs(self._name):
            self._call.event(json.loads(line[5:]))
