"""Watching a response that the application reads by itself: `with_raw_response` and `with_streaming_response`.

A body that was read already is looked at once. Of one that is still to come, the bytes are looked at as they pass,
decoded if the application takes them as they came over the wire. Only the few events that say something about usage
are parsed, and a line that is too long to be one of them is skipped, not held. What cannot be read leaves a call
without usage, never none.
"""

import base64
import re
import struct
import sys
import weakref
from typing import Any, Callable, Iterator, List

from . import _facts, _log, _stream
from ._call import Call
from ._guard import safely

# Longest line of a stream that is looked at, and longest body that is not a stream.
LINE_BYTES_MAX = 1 << 20
BODY_BYTES_MAX = 64 << 20
# Longest of Amazon's frames, by their format.
FRAME_BYTES_MAX = 24 << 20


def watch(response: Any, call: Call) -> None:
    """Watches an `httpx` response, of whichever of its two packages."""
    call.answered(response.headers)
    kind = response.headers.get("content-type", "")
    if "json" in kind and response.is_closed:
        whole = Whole(call)
        whole.see(response.content)
        whole.ended()
        return
    _stream.keep(response, call)
    if "text/event-stream" in kind:
        body: Any = Events(call)
    elif "vnd.amazon.eventstream" in kind:
        body = Frames(call)
    elif "json" in kind:
        body = Whole(call)
    else:
        body = _unreadable(call, "is of the kind %r" % kind)
    tap(response, body, call.failed, lambda why: _unreadable(call, why))


def tap(response: Any, body: Any, failed: Callable[[BaseException], None], unreadable: Callable[[str], Any]) -> None:
    """All ways to read a response go through these four methods, and those of decoded bytes through the raw ones."""
    # Not held by what it holds itself, so that it goes when it is dropped.
    own: Any = weakref.ref(response)
    kind: Any = type(response)
    is_decoded = False

    def decoded(read: Any) -> Any:
        def tapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal is_decoded
            is_decoded = True
            items = read(own(), *args, **kwargs)
            return safely("watching a response", _stream.watched, items, body.see, body.ended, failed) or items

        return tapped

    def coded(response: Any, items: Any) -> Any:
        coded = _Coded(response, body, unreadable)
        return _stream.watched(items, coded.see, coded.ended, failed)

    def raw(read: Any) -> Any:
        def tapped(*args: Any, **kwargs: Any) -> Any:
            items = read(own(), *args, **kwargs)
            if is_decoded:
                return items
            return safely("watching a response", coded, own(), items) or items

        return tapped

    response.iter_bytes, response.aiter_bytes = decoded(kind.iter_bytes), decoded(kind.aiter_bytes)
    response.iter_raw, response.aiter_raw = raw(kind.iter_raw), raw(kind.aiter_raw)


class _Coded:
    """A body as it comes over the wire, decoded by what `httpx` itself has for that."""

    def __init__(self, response: Any, body: Any, unreadable: Callable[[str], Any]) -> None:
        self._body, self._unreadable = body, unreadable
        self._decoders: List[Any] = []
        self._codings = codings = response.headers.get("content-encoding", "").replace(" ", "").lower()
        try:
            package = type(response).__mro__[-2].__module__.partition(".")[0]
            known = sys.modules[package + "._decoders"].SUPPORTED_DECODERS
            self._decoders = [known[coding]() for coding in reversed(codings.split(",")) if coding]
        except (KeyError, AttributeError):
            self._body = unreadable("is read as it came, compressed by %s" % codings)

    def see(self, content: bytes) -> None:
        try:
            for decoder in self._decoders:
                decoded = decoder.decode(content)
                # In pieces, by the newer of the two packages.
                content = decoded if isinstance(decoded, bytes) else b"".join(decoded)
        except Exception:
            self._decoders, self._body = [], self._unreadable("says that it is compressed by %s, and is not" % self._codings)
        self._body.see(content)

    def ended(self) -> None:
        self._body.ended()


def _unreadable(call: Call, why: str) -> "Unreadable":
    _log.warning_once("unreadable " + why, "an answer %s: what its call used is not known, and told as nothing", why)
    return Unreadable(call)


class Unreadable:
    """A body that says nothing to us."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def see(self, content: bytes) -> None:
        pass

    def ended(self) -> None:
        self._call.stopped()


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
        message = _facts.parsed(b"".join(self._content))
        self._call.message(message)
        self._call.end("complete" if message else "cut")


class Lines:
    """Whole lines, from bytes as they come in, with any of the three line endings."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        # One that grows in place: an application may read a long line in small pieces.
        self._rest = bytearray()
        self._is_after_return = False

    def take(self, content: bytes) -> Iterator[bytes]:
        """The lines that `content` completes."""
        if self._is_after_return and content:
            # A line feed there belongs to it.
            content = content[content.startswith(b"\n") :]
            self._is_after_return = False
        if b"\r" in content:
            self._is_after_return = content.endswith(b"\r")
            content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = content.split(b"\n")
        for line in lines:
            self._rest += line
            yield self.rest()
        self._rest += rest
        if len(self._rest) > self._bytes_max:
            # Whatever it is, it says nothing about usage. A comment, as far as we care, to its end.
            self._rest[:] = b":"

    def rest(self) -> bytes:
        """What is there of the last line."""
        line = bytes(self._rest).strip()
        self._rest.clear()
        return line


class Events:
    """A body that is a stream of events."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._lines = Lines(LINE_BYTES_MAX)
        self._has_begun = False
        self._name = ""
        self._data: List[bytes] = []
        self._room = LINE_BYTES_MAX

    def see(self, content: bytes) -> None:
        for line in self._lines.take(content):
            self._line(line)

    def ended(self) -> None:
        self._line(self._lines.rest())
        self._dispatch()
        self._call.stopped()

    def _line(self, line: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            # A byte order mark.
            line = line[3 * line.startswith(b"\xef\xbb\xbf") :]
        if not line:
            self._dispatch()
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode("ascii", "replace")
        elif line.startswith(b"data:"):
            self._room -= len(line)
            if self._room > 0:
                self._data.append(line[5:])

    def _dispatch(self) -> None:
        """An event is there with all its lines."""
        name, data, is_whole = self._name, self._data, self._room > 0
        self._name, self._data, self._room = "", [], LINE_BYTES_MAX
        if name == "error":
            self._call.end("error", _facts.of_error_body(_facts.parsed(b"\n".join(data))))
        elif data and is_whole and self._call.needs(name):
            self._call.event(_facts.parsed(b"\n".join(data)))


class Frames:
    """A body that is a stream of events in Amazon's frames: sizes of the frame and of its fields, a checksum, the
    fields, JSON with an event in base64, a checksum."""

    _EXCEPTION = re.compile(rb":(?:exception-type|error-code)\x07..([A-Za-z]+)", re.DOTALL)

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rest = bytearray()
        self._is_lost = False

    def see(self, content: bytes) -> None:
        rest = self._rest
        if not self._is_lost:
            rest += content
        while len(rest) >= 12:
            size, fields = struct.unpack_from(">II", rest)
            if size > FRAME_BYTES_MAX or size < 16 + fields:
                # No frame; nor can the next one be found.
                self._is_lost = True
                rest.clear()
                return
            if len(rest) < size:
                return
            self._frame(bytes(rest[12 : 12 + fields]), bytes(rest[12 + fields : size - 4]))
            del rest[:size]

    def ended(self) -> None:
        self._call.stopped()

    def _frame(self, fields: bytes, content: bytes) -> None:
        exception = self._EXCEPTION.search(fields)
        if exception:
            self._call.end("error", {"type": exception.group(1).decode()})
            return
        event = _facts.parsed(content).get("bytes")
        if event is not None:
            self._call.event(_facts.parsed(base64.b64decode(event)))
