"""One call of a model: what is seen of it, and the one time that it is handed over.

Facts are copied as the provider said them, without arithmetic; what they mean for billing is the agent's to say. The
format is the agent's `call` line. A call ends once, by whichever comes first: its answer, its error, the end of its
stream, its being closed or dropped, or the end of the process. Nothing here raises.
"""

import os
import time
import weakref
from typing import Any, Dict, Mapping, Optional

from . import _emitter, _facts, _outlet, _prompts
from ._guard import safely

# Streams that are under way, for the end of the process.
_open: "weakref.WeakSet[Call]" = weakref.WeakSet()


class Call:
    """See the module's text."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_began",
        "_facts",
        "_is_open",
        "_is_stopped",
        "_last",
        "_metadata",
        "_pid",
        "_prompts",
        "_usage",
    )  # fmt: skip

    def __init__(self, asked: bytes, metadata: Mapping[str, Any], body: Mapping[str, Any], **facts: Any) -> None:
        self._asked, self._facts, self._metadata = asked, facts, metadata
        self._usage: Dict[str, Any] = {}
        self._prompts = safely("capturing prompts", _prompts.begin, metadata, body)
        self._is_stopped = False
        self._pid = os.getpid()
        facts["started_at_ms"] = int(time.time() * 1000)
        self._began = self._last = time.monotonic()
        self._is_open = [True]

    def follow(self) -> None:
        """It goes on after its method has returned."""
        _open.add(self)

    def message(self, message: Any) -> None:
        """Its whole answer, as the SDK's model or as JSON."""
        facts, get = self._facts, _facts.getter(message)
        facts["id"], facts["model"], facts["stop_reason"] = get("id"), get("model"), get("stop_reason")
        self._usage = _facts.plain(get("usage")) or self._usage
        if not facts.get("request_id"):
            # Not every version of the SDK has it.
            self._identified(get("_request_id"))
        if self._prompts is not None:
            self._prompts.answer(get("content"))

    def event(self, event: Any) -> None:
        """An event of its stream, as the SDK's model or as JSON."""
        get = _facts.getter(event)
        kind = get("type")
        self._last = time.monotonic()
        if kind == "content_block_delta":
            if "time_to_first_token_ms" not in self._facts:
                self._facts["time_to_first_token_ms"] = _ms(self._last - self._began)
            if self._prompts is not None:
                self._prompts.delta(get("delta"))
        elif kind == "message_start":
            message = get("message")
            of = _facts.getter(message)
            self._facts["id"], self._facts["model"] = of("id"), of("model")
            self._counts(of("usage"))
        elif kind == "message_delta":
            self._facts["stop_reason"] = _facts.getter(get("delta"))("stop_reason") or self._facts.get("stop_reason")
            self._counts(get("usage"))
        elif kind == "message_stop":
            self._is_stopped = True

    def _counts(self, usage: Any) -> None:
        # Of a stream, the last value of each member counts; nothing is summed.
        self._usage.update((key, value) for key, value in _facts.plain(usage).items() if value is not None)

    def answered(self, headers: Any) -> None:
        """The headers of its answer."""
        self._identified(headers.get("request-id"))

    def _identified(self, request_id: Any) -> None:
        if request_id is not None:
            self._facts["request_id"] = request_id

    def needs(self, kind: str) -> bool:
        """Whether an event of this kind says anything that is not known yet."""
        if kind == "content_block_delta":
            return self._prompts is not None or "time_to_first_token_ms" not in self._facts
        return kind in ("message_start", "message_delta", "message_stop")

    def end(self, ended: str = "complete", error: Optional[Dict[str, Any]] = None) -> None:
        """It has ended. Only the first time counts, and only in the process that began it."""
        try:
            self._is_open.pop()
        except IndexError:
            return
        if self._pid != os.getpid():
            return
        _open.discard(self)
        if not safely("metering a call", self._emit, ended, error):
            _outlet.lose()

    def _emit(self, ended: str, error: Optional[Dict[str, Any]]) -> bool:
        """Hands it over. True if it came to that."""
        now = time.monotonic()
        if ended == "cancelled" and self._is_stopped:
            ended = "complete"
        if ended == "cancelled" and self._last > self._began:
            # It was dropped at some time after its last event, when nobody cared any more.
            now = self._last
        facts = self._facts
        facts["ended"], facts["duration_ms"] = ended, _ms(now - self._began)
        if self._usage:
            facts["usage"] = self._usage
        if error is not None:
            facts["error"] = error
        prompts = None if self._prompts is None else safely("capturing prompts", self._prompts.facts)
        _outlet.emit(_facts.line(self._asked, facts, self._metadata, prompts))
        return True

    def forget(self) -> None:
        """It never was one."""
        self._is_open.clear()

    def stopped(self) -> None:
        """Its stream came to its end by itself: whole only if it said so."""
        self.end("complete" if self._is_stopped else "cut")

    def failed(self, error: BaseException) -> None:
        """It ended with what was raised."""
        if not isinstance(error, Exception) or type(error).__name__ == "CancelledError":
            self.end("cancelled")
            return
        if "request_id" not in self._facts and getattr(error, "response", None) is not None:
            self.answered(error.response.headers)  # type: ignore[attr-defined]
        self.end("error", _facts.of_error(error))

    def __del__(self) -> None:
        # One that was never made whole is none.
        if getattr(self, "_is_open", None):
            safely("dropping a call", self.end, "cancelled")


def _ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))


def _end_open() -> None:
    """At the end of the process: what is still under way is metered with what was seen."""
    for call in list(_open):
        call.end("cancelled")


# First of all: what is told there is to be handed over.
_emitter.at_exit.insert(0, _end_open)
