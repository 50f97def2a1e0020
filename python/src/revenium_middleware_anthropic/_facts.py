"""The line that a call becomes, from facts that may be anything.

What an application puts into its metadata must not cost the call: what is no JSON becomes text, and what cannot even
become text is left out, with a warning.
"""

import functools
import json
import math
from typing import Any, Callable, Dict, Mapping, Optional

from . import _log
from ._version import __version__

MIDDLEWARE = "revenium-middleware-anthropic/" + __version__

# The agent takes events of up to a mebibyte; a call becomes one, with some members more.
_BODY_BYTES_MAX = (1 << 20) - (32 << 10)

_DEPTH_MAX = 32
_INT_BITS_MAX = 1024


def line(asked: bytes, facts: Dict[str, Any], metadata: Mapping[str, Any], prompts: Optional[Dict[str, Any]]) -> bytes:
    """The line without its `{` and its number, as the emitter takes it: `asked` as `of_request` has it, and `facts`, of
    which a `None` is as good as none."""
    if metadata:
        facts["usage_metadata"] = metadata
    if prompts:
        facts["prompts"] = prompts
    for drop in ("prompts", "usage_metadata", None):
        body = _encode(facts)
        if len(asked) + len(body) <= _BODY_BYTES_MAX or drop is None:
            break
        if facts.pop(drop, None) is not None:
            _log.logger.warning("%s of a call left out: with it, the call is larger than the agent takes", drop)
    return b'"call":{%b%b}\n' % (asked, body[1:])


def _encode(facts: Dict[str, Any]) -> bytes:
    try:
        return _dump(facts)
    except Exception:
        tame = {key: tamed(value, _DEPTH_MAX) for key, value in facts.items()}
        return _dump(tame)


# Made once: `json.dumps` would make one for each call.
_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str)


def _dump(value: Any) -> bytes:
    text = _encoder.encode(value)
    # Half of a surrogate pair is no text to anybody else.
    return text.encode("utf-8", "replace")


def tamed(value: Any, depth: int) -> Any:
    """What of a value is JSON, or can be told as such."""
    try:
        return _tamed(value, depth)
    except Exception:
        _log.warning_once("tamed", "a %s in usage_metadata cannot be told: left out", type(value))
        return None


def _tamed(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        # Of more digits than anybody counts, Python itself would not make text.
        return value if value.bit_length() <= _INT_BITS_MAX else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {str(key): tamed(member, depth - 1) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [tamed(item, depth - 1) for item in value]
    return str(value)


def parsed(content: bytes) -> Dict[str, Any]:
    """A JSON object of the provider's; empty if it is none."""
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def getter(thing: Any) -> Callable[[str], Any]:
    """Reads members, of one of the SDK's models or of JSON."""
    if isinstance(thing, dict):
        return thing.get
    return lambda name: getattr(thing, name, None)


def plain(model: Any) -> Dict[str, Any]:
    """What the provider said in one of the SDK's models, members that the SDK does not know included."""
    if model is None:
        return {}
    if isinstance(model, dict):
        return model
    try:
        dumped = model.model_dump(exclude_unset=True, warnings=False)
    except (AttributeError, TypeError):
        # The SDK's own models have one of the two; a vendor's answer may have anything else in their place.
        old = getattr(model, "dict", None)
        dumped = old(exclude_unset=True) if callable(old) else None
    return dumped if isinstance(dumped, dict) else {}


def of_error(error: BaseException) -> Dict[str, Any]:
    """What may be told of an error: never its message, which may quote a prompt."""
    told: Dict[str, Any] = {"class": type(error).__name__}
    status = getattr(error, "status_code", None)
    # An error in the middle of a stream has the status of its beginning, which was 200.
    if isinstance(status, int) and status >= 400:
        told["status"] = status
    return {**told, **of_error_body(getattr(error, "body", None))}


def of_error_body(body: Any) -> Dict[str, Any]:
    """The provider's word for an error, from its JSON."""
    detail = body.get("error") if isinstance(body, dict) else None
    kind = detail.get("type") if isinstance(detail, dict) else None
    return {"type": kind} if isinstance(kind, str) else {}


def of_request(client: Any, url: str, body: Mapping[str, Any], is_streamed: bool) -> bytes:
    """What is known of a call when it is made: members of JSON, a comma behind each."""
    kind: Any = type(client)
    config, temperature = body.get("output_config"), body.get("temperature")
    return _members(
        kind,
        # The host only: a URL may have a password in it.
        _text(getattr(getattr(client, "base_url", None), "host", None)),
        _text(url if url.startswith("/") else "/" + url.split("://", 1)[-1].partition("/")[2]),
        is_streamed,
        bool(_listed(body.get("tools"))),
        _has_vision(body),
        _text(body.get("model")),
        temperature if isinstance(temperature, (int, float)) else None,
        _text(body.get("service_tier")),
        _text(config.get("effort")) if isinstance(config, dict) else None,
    )


# Of a text: more than the agent takes.
_TEXT_CHARS_MAX = 1024


def _text(value: Any) -> Optional[str]:
    return value[:_TEXT_CHARS_MAX] if isinstance(value, str) else None


# An application's calls are mostly of a few kinds, so each is put into JSON once.
@functools.lru_cache(maxsize=64, typed=True)
def _members(
    kind: Any,
    host: Optional[str],
    route: str,
    is_streamed: bool,
    has_tools: bool,
    has_vision: bool,
    model: Optional[str],
    temperature: Optional[float],
    service_tier: Optional[str],
    effort: Optional[str],
) -> bytes:
    asked = {"model": model, "temperature": temperature, "service_tier": service_tier, "effort": effort}
    facts = {
        "provider": _provider(kind),
        "endpoint": host,
        "route": route,
        "request": {"has_tools": has_tools, "has_vision": has_vision, **_known(asked)},
        "is_streamed": is_streamed,
        "middleware": MIDDLEWARE,
    }
    return _encode(_known(facts))[1:-1] + b","


def _known(facts: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


# Clients that know better than their endpoint who serves their calls, by a part of their class's name.
_CLOUDS = (("Bedrock", "AWS"), ("Vertex", "Google Vertex"), ("GoogleCloud", "Google Vertex"), ("Foundry", "Foundry"))


def _provider(kind: type) -> Optional[str]:
    for base in kind.__mro__:
        for part, provider in _CLOUDS:
            if part in base.__name__ and base.__module__.startswith("anthropic"):
                return provider
    return None


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else ()


def _has_vision(body: Mapping[str, Any]) -> bool:
    for message in _listed(body.get("messages")):
        content = getter(message)("content")
        # Mostly it is text.
        if not isinstance(content, str) and _has_image(_listed(content), 2):
            return True
    return False


def _has_image(blocks: Any, depth: int) -> bool:
    for block in blocks:
        get = getter(block)
        if get("type") == "image":
            return True
        # A tool's result has blocks of its own.
        if depth and _has_image(_listed(get("content")), depth - 1):
            return True
    return False
