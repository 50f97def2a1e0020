"""The results of a batch, each of which is a call of its own.

A result's message has an id of its own, so that Revenium counts a result once however often, and wherever, the results
are read.
"""

import re
from typing import Any, Dict, Mapping

from . import _facts, _stream
from ._call import Call

_RESULTS = re.compile(r"/v1/messages/batches/([^/?]+)/results")


def id_of(url: str) -> str:
    """The batch whose results these are; empty for any other URL."""
    found = _RESULTS.search(url)
    return found.group(1) if found else ""


def watch(results: Any, batch: str, facts: Dict[str, Any], metadata: Mapping[str, Any]) -> None:
    """Watches the SDK's iterator over results."""

    def see(line: Any) -> None:
        get = _facts.getter(line)
        result = _facts.getter(get("result"))
        if result("type") != "succeeded":
            # It was cancelled, has expired or failed: nothing ran that is billed.
            return
        call = Call({**facts, "batch_id": batch, "custom_id": get("custom_id")}, metadata, {})
        call.message(result("message"))
        call.end()

    results._iterator = _stream.watched(results._iterator, see, lambda: None, lambda _: None)
