"""From a request of the SDK to its metered call: whether it is one, and how to see its answer, in whichever shape the
application asked for it."""

import sys
from contextvars import ContextVar
from typing import Any, Dict, Mapping, Optional, Tuple

from . import _batch, _claim, _context, _emitter, _facts, _log, _outlet, _raw, _stream
from ._call import Call
from ._context import Carried
from ._guard import safely

# The member of a request's extra body that metadata travels in, from the method that was called to here.
MEMBER = "_revenium"

# Revenium's own package. Two records for one call would be billed twice.
_OFFICIAL = "revenium_middleware.anthropic"

# What follows the request that is under way here, if it is one that is metered.
_under_way: "ContextVar[Any]" = ContextVar("revenium_under_way", default=None)


def is_official_loaded() -> bool:
    """Whether Revenium's own package meters this process; said once."""
    if _OFFICIAL not in sys.modules:
        return False
    _log.warning_once(
        "official",
        "%s is loaded in this process and meters its calls, so revenium_middleware_anthropic does nothing. Import one "
        "of the two",
        _OFFICIAL,
    )
    return True


def answered(response: Any) -> None:
    """The provider's answer to the request that is under way, before it becomes what the application gets."""
    followed = _under_way.get()
    if followed is None:
        return
    followed.is_answered = True
    if _claim.is_metered_elsewhere(response):
        followed.leave()


class _Followed:
    """A request that is under way, from its making: `answered` knows what follows it."""

    def __init__(self) -> None:
        self._is_left = self.is_answered = False
        self._outer = _under_way.get()
        _under_way.set(self)

    def _over(self) -> None:
        # Not `reset`, which raises where a coroutine is dropped in another context.
        _under_way.set(self._outer)


class Followed(_Followed):
    """A call whose request is under way."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def leave(self) -> None:
        """Somebody else has metered it."""
        self._is_left = True
        self._call.forget()

    def failed(self, error: BaseException) -> None:
        """What was raised in place of an answer."""
        self._over()
        if _claim.is_metered_elsewhere(getattr(error, "response", None)):
            self._call.forget()
        api_error = getattr(sys.modules.get("anthropic"), "APIError", ())
        # An answer that the SDK cannot read raises what it likes, and the call was made.
        if self.is_answered or isinstance(error, api_error) or not isinstance(error, Exception):
            self._call.failed(error)
        else:
            # Before anything was sent, as for want of a key.
            self._call.forget()

    def returned(self, result: Any, streams: Tuple[type, ...]) -> None:
        """What the application gets."""
        self._over()
        if self._is_left:
            return
        if isinstance(result, streams):
            _stream.watch(result, streams, self._call)
        elif "usage" in getattr(result, "__dict__", ()):
            # Mostly. To ask one of the SDK's models for what it has not takes longer than the rest of this.
            self._call.message(result)
            self._call.end()
        elif getattr(result, "http_response", None) is not None:
            _raw.watch(result.http_response, self._call)
        elif hasattr(result, "iter_bytes"):
            _raw.watch(result, self._call)
        else:
            self._call.message(result)
            self._call.end()


class FollowedBatch(_Followed):
    """The results of a batch, whose request is under way."""

    def __init__(self, batch: str, asked: bytes, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        self._results = _batch.Results(batch, asked, metadata)

    def leave(self) -> None:
        """Somebody else meters its results."""
        self._is_left = True

    def failed(self, error: BaseException) -> None:
        """Nothing: no result was read."""
        self._over()

    def returned(self, result: Any, streams: Tuple[type, ...]) -> None:
        self._over()
        if not self._is_left:
            self._results.watch(result)


def told(usage_metadata: object, extra_body: Any) -> Optional[Dict[str, Any]]:
    """The extra body of a request that takes along what is in force where it is made; `None` if nothing is."""
    carried = _context.carried(usage_metadata)
    return None if carried is None else {**(extra_body or {}), MEMBER: carried}


def taken(options: Any) -> Optional[Carried]:
    """Takes out of a request what travelled in it, so that it is as without us."""
    extra = options.extra_json
    if not isinstance(extra, dict) or MEMBER not in extra:
        return None
    options.extra_json = {key: value for key, value in extra.items() if key != MEMBER} or None
    carried = extra[MEMBER]
    return carried if isinstance(carried, Carried) else None


def begin(client: Any, options: Any, carried: Optional[Carried], is_streamed: bool) -> Any:
    """What follows the call that a request is, if it is one that is metered."""
    url, method = str(options.url), str(options.method).lower()
    batch = _batch.id_of(url) if method == "get" else ""
    is_message = method == "post" and url.partition("?")[0].endswith("/v1/messages")
    if not (is_message or batch) or _emitter.is_disabled or is_official_loaded():
        return None
    try:
        return _followed(client, options, carried, is_streamed, url, batch)
    except Exception:
        if is_message:
            _outlet.lose()
        raise


def _followed(
    client: Any, options: Any, carried: Optional[Carried], is_streamed: bool, url: str, batch: str
) -> Any:
    in_force = carried or _context.in_force()
    if _context.is_selective() and not in_force.is_metered:
        _log.info_once("selective", "a call outside of revenium_meter is not metered, as asked for")
        return None
    metadata = _context.merged(_context.tags(), in_force.metadata)
    metadata = _without_alias_beside_a_subscriber(metadata)
    body = {**_dict(options.json_data), **_dict(options.extra_json)}
    asked = _facts.of_request(client, url, body, is_streamed)
    followed = FollowedBatch(batch, asked, metadata) if batch else Followed(Call(asked, metadata, body))
    safely("claiming a call", _claim.claim, client, options)
    return followed


def _dict(value: Any) -> Dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _without_alias_beside_a_subscriber(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """An alias names a credential only for want of a subscriber; beside one it would be dropped with a warning."""
    if "credential_alias" in metadata and any(str(key).startswith("subscriber") for key in metadata):
        return {key: value for key, value in metadata.items() if key != "credential_alias"}
    return metadata
