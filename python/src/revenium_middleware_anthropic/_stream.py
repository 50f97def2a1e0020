"""Watching what the SDK hands to the application piece by piece: events of a stream, bytes of a response, results of
a batch.

The application gets the very same items at the same time. An iterator of ours stands in place of the SDK's own within
its stream, so that nothing of the stream's interface changes.
"""

import copy
import weakref
from typing import Any, Callable, Tuple

from ._call import Call
from ._guard import safely

# Where a response keeps its call.
_CALL = "_revenium_call"


class Watched:
    """An iterator that shows each item on its way, and tells how it ended."""

    def __init__(
        self,
        items: Any,
        see: Callable[[Any], None],
        stopped: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._items, self._see, self._stopped, self._failed = items, see, stopped, failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)

    def _ended(self, error: BaseException) -> None:
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._stopped()
        else:
            self._failed(error)


class WatchedItems(Watched):
    def __iter__(self) -> "WatchedItems":
        return self

    def __next__(self) -> Any:
        try:
            item = next(self._items)
        except BaseException as error:
            safely("ending a stream", self._ended, error)
            raise
        safely("reading a stream", self._see, item)
        return item


class WatchedAsyncItems(Watched):
    def __aiter__(self) -> "WatchedAsyncItems":
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._items.__anext__()
        except BaseException as error:
            safely("ending a stream", self._ended, error)
            raise
        safely("reading a stream", self._see, item)
        return item


def watched(
    items: Any, see: Callable[[Any], None], stopped: Callable[[], None], failed: Callable[[BaseException], None]
) -> Watched:
    """Items that are watched, of either kind."""
    kind = WatchedAsyncItems if hasattr(items, "__anext__") else WatchedItems
    return kind(items, see, stopped, failed)


def watch(stream: Any, plain_classes: Tuple[type, ...], call: Call) -> None:
    """Watches a stream of the SDK's."""
    call.answered(stream.response.headers)
    keep(stream.response, call)
    if "_iterator" in vars(stream) and type(stream) in plain_classes:
        # In older SDKs the iterator refers to its stream, which would leave it to the garbage collector to tell us of
        # a stream that was dropped. This one refers to a copy; nothing was read from the other.
        twin = copy.copy(stream)
        del twin._iterator
        items = twin.__stream__()
    else:
        items = stream._iterator
    stream._iterator = watched(items, call.event, call.stopped, call.failed)


def keep(response: Any, call: Call) -> None:
    """Lets `closed` find the call of a response, which goes on after its method has returned."""
    call.follow()
    # A response is kept by what it keeps itself until the garbage collector comes; its call is not to be.
    vars(response)[_CALL] = weakref.ref(call)


def closed(holder: Any) -> None:
    """A stream, or what a response is read through, was closed by the application."""
    response = getattr(holder, "response", None) or getattr(holder, "http_response", None)
    kept = getattr(response, "__dict__", {}).get(_CALL)
    call = kept and kept()
    if call is not None:
        call.end("cancelled")
