"""The results of a batch, each of which is a call of its own.

Results may be read again and again, for 29 days. A process meters each of them once, as long as it remembers it. Beyond
that, and in another process, a result's event has its message's id, by which Revenium counts it once.
"""

import re
from typing import Any, Dict, Mapping

from . import _facts, _log, _raw, _stream
from ._call import Call

# Results that are remembered at least: as many as a batch can have. Twice that at most, in some 25 MB.
REMEMBERED_MIN = 100_000

# Hashes of results' ids, those from before in a dictionary of their own.
_metered: Dict[int, Any] = {}
_metered_before: Dict[int, Any] = {}

_RESULTS = re.compile(r"/v1/messages/batches/([^/?]+)/results")


def id_of(url: str) -> str:
    """The batch whose results these are; empty for any other URL."""
    found = _RESULTS.search(url)
    return found.group(1) if found else ""


def is_first(result: Any) -> bool:
    """Whether a result is met for the first time here. Of threads that meet it at once, one hears so."""
    global _metered, _metered_before
    known, key, mine = _metered, hash(result), object()
    if key in _metered_before or known.setdefault(key, mine) is not mine:
        return False
    known[key] = None
    if len(known) >= REMEMBERED_MIN and known is _metered:
        _metered_before, _metered = known, {}
    return True


class Results:
    """Results as they are read, by whichever way."""

    def __init__(self, batch: str, asked: bytes, metadata: Mapping[str, Any]) -> None:
        self._batch, self._asked, self._metadata = batch, asked, metadata
        self._lines = _raw.Lines(_raw.BODY_BYTES_MAX)

    def watch(self, result: Any) -> None:
        """Watches the SDK's iterator over results, or the response that has them."""
        if hasattr(result, "_iterator"):
            result._iterator = _stream.watched(result._iterator, self._result, lambda: None, lambda _: None)
        else:
            _raw.tap(result.http_response, self, lambda _: None, self._unreadable)

    def see(self, content: bytes) -> None:
        for line in self._lines.take(content):
            self._result(_facts.parsed(line))

    def ended(self) -> None:
        self._result(_facts.parsed(self._lines.rest()))

    def _result(self, line: Any) -> None:
        get = _facts.getter(line)
        result = _facts.getter(get("result"))
        if result("type") != "succeeded":
            # It was cancelled, has expired or failed: nothing ran that is billed.
            return
        message = result("message")
        if not is_first(_facts.getter(message)("id") or (self._batch, get("custom_id"))):
            return
        call = Call(self._asked, self._metadata, {}, batch_id=self._batch, custom_id=get("custom_id"))
        call.message(message)
        call.end()

    def _unreadable(self, why: str) -> "Results":
        _log.logger.error("results of the batch %s are not metered: the answer %s", self._batch, why)
        return Results("", b"", {})
