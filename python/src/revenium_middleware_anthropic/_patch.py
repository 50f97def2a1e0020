"""Where the SDK is hooked: the one method of its clients that every request passes, the methods that take
`usage_metadata` from the application, and the closing of streams.

`create`, `stream`, `parse`, `tool_runner`, their asynchronous, beta, raw and streaming kinds, and the clients of
Bedrock, Vertex and Foundry all come to `request` of the base client, once for each call, whatever is tried again
within. Metadata travels there as a member of the request's extra body, and is taken out before anything is sent.
"""

import functools
import inspect
from typing import Any, Callable, Iterator, List, Tuple

from . import _follow, _log, _stream
from ._guard import safely

Function = Callable[..., Any]

_RESOURCES = ("Messages", "AsyncMessages", "Batches", "AsyncBatches")
_METHODS = ("create", "stream", "parse", "tool_runner", "results")


def install() -> None:
    """Hooks the SDK, if it is there and nobody else meters it."""
    if _follow.is_official_loaded():
        return
    try:
        from anthropic import _base_client, _resource, _response, _streaming
    except ImportError:
        _log.warning_once("sdk", "the package anthropic is not installed: there is nothing to meter")
        return
    streams = (_streaming.Stream, _streaming.AsyncStream)
    # First: what the methods below put into a request is taken out there.
    for client in (_base_client.SyncAPIClient, _base_client.AsyncAPIClient):
        _hook(client, "request", functools.partial(_metered, streams))
        _hook(client, "_process_response", _telling_of_answer)
    for kind in _kinds([_resource.SyncAPIResource, _resource.AsyncAPIResource]):
        if kind.__name__ in _RESOURCES:
            for name in _METHODS:
                _hook(kind, name, _taking_metadata)
    for closing in (*streams, _response.APIResponse, _response.AsyncAPIResponse):
        _hook(closing, "close", _telling_of_close)


def _kinds(roots: List[Any]) -> Iterator[Any]:
    for root in roots:
        yield root
        yield from _kinds(root.__subclasses__())


def _hook(kind: Any, name: str, wrap: Callable[[Function], Function]) -> None:
    """Wraps a class's own method, once."""
    original = vars(kind).get(name)
    if callable(original) and not hasattr(original, "_is_revenium"):
        wrapped = functools.wraps(original)(wrap(original))
        wrapped._is_revenium = True  # type: ignore[attr-defined]
        setattr(kind, name, wrapped)


def _metered(streams: Tuple[type, ...], original: Function) -> Function:
    if inspect.iscoroutinefunction(original):

        async def async_request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            carried, is_streamed = safely("a call's metadata", _follow.taken, options), bool(kwargs.get("stream"))
            followed = safely("a call's beginning", _follow.begin, self, options, carried, is_streamed)
            if followed is None:
                return await original(self, cast_to, options, *args, **kwargs)
            try:
                result = await original(self, cast_to, options, *args, **kwargs)
            except BaseException as error:
                safely("a failed call", followed.failed, error)
                raise
            safely("reading an answer", followed.returned, result, streams)
            return result

        return async_request

    def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        carried, is_streamed = safely("a call's metadata", _follow.taken, options), bool(kwargs.get("stream"))
        followed = safely("a call's beginning", _follow.begin, self, options, carried, is_streamed)
        if followed is None:
            return original(self, cast_to, options, *args, **kwargs)
        try:
            result = original(self, cast_to, options, *args, **kwargs)
        except BaseException as error:
            safely("a failed call", followed.failed, error)
            raise
        safely("reading an answer", followed.returned, result, streams)
        return result

    return request


def _telling_of_answer(original: Function) -> Function:
    """What is made of an answer may not have its headers any more."""
    if inspect.iscoroutinefunction(original):

        async def async_process(self: Any, *args: Any, **kwargs: Any) -> Any:
            safely("reading an answer's headers", _follow.answered, kwargs.get("response"))
            return await original(self, *args, **kwargs)

        return async_process

    def process(self: Any, *args: Any, **kwargs: Any) -> Any:
        safely("reading an answer's headers", _follow.answered, kwargs.get("response"))
        return original(self, *args, **kwargs)

    return process


def _taking_metadata(original: Function) -> Function:
    if inspect.iscoroutinefunction(original):

        async def async_method(self: Any, *args: Any, **kwargs: Any) -> Any:
            metadata = kwargs.pop("usage_metadata", None)
            extra = safely("reading metadata", _follow.told, metadata, kwargs.get("extra_body"))
            if extra is not None:
                kwargs["extra_body"] = extra
            return await original(self, *args, **kwargs)

        return async_method

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        metadata = kwargs.pop("usage_metadata", None)
        extra = safely("reading metadata", _follow.told, metadata, kwargs.get("extra_body"))
        if extra is not None:
            kwargs["extra_body"] = extra
        return original(self, *args, **kwargs)

    return method


def _telling_of_close(original: Function) -> Function:
    if inspect.iscoroutinefunction(original):

        async def async_close(self: Any) -> None:
            try:
                await original(self)
            finally:
                safely("closing a stream", _stream.closed, self)

        return async_close

    def close(self: Any) -> None:
        try:
            original(self)
        finally:
            safely("closing a stream", _stream.closed, self)

    return close
