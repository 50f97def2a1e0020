"""Metadata that calls share, which calls are metered at all, and the tags of the environment.

`revenium_metadata` and `revenium_meter` are decorators and context managers, for functions of all four kinds. What a
call itself says wins over an inner block, that over an outer one, and that over the environment. Which dialect a
member is in does not matter; the agent understands all of them.
"""

import collections.abc
import functools
import inspect
import os
import re
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar, cast

from . import _log
from ._guard import safely

F = TypeVar("F", bound=Callable[..., Any])

_shared: "ContextVar[Mapping[str, Any]]" = ContextVar("revenium_metadata", default=MappingProxyType({}))
_is_metered: "ContextVar[bool]" = ContextVar("revenium_meter", default=False)

# A member of `usage_metadata`, and the variables that it comes from, the first that is set.
_TAGS: Dict[str, List[str]] = {
    "environment": ["REVENIUM_ENVIRONMENT", "ENVIRONMENT", "DEPLOYMENT_ENV"],
    "region": [
        "REVENIUM_REGION", "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_REGION", "GCP_REGION", "GOOGLE_CLOUD_REGION",
    ],
    **{
        name: ["REVENIUM_" + name.upper()]
        for name in (
            "credential_alias", "trace_type", "trace_name", "parent_transaction_id", "transaction_name",
            "retry_number", "ticket_id", "skill_name", "skill_source", "skill_kind", "skill_plugin_name",
            "skill_marketplace_name", "skill_invocation_trigger", "agentic_job_id", "agentic_job_name",
            "agentic_job_type", "agentic_job_version",
        )
    },
}  # fmt: skip

# Two names for one thing: giving the one is giving the other.
_SAME = {"organization_id": "organization_name", "product_id": "product_name"}


class Carried:
    """What was in force where a method of the SDK was called; travels to where its request is sent."""

    __slots__ = ("is_metered", "metadata")

    def __init__(self, metadata: Mapping[str, Any], is_metered: bool) -> None:
        self.metadata, self.is_metered = metadata, is_metered

    def __deepcopy__(self, memo: object) -> "Carried":
        return self


def carried(usage_metadata: object) -> Optional[Carried]:
    """What a call takes along; `None` if nothing is in force that its request would not see."""
    shared = _shared.get()
    # Not `typing`'s, which is slow to ask.
    if usage_metadata is not None and not isinstance(usage_metadata, collections.abc.Mapping):
        _log.warning_once("metadata", "usage_metadata is no dict but %s: left out", type(usage_metadata))
        usage_metadata = None
    if not usage_metadata and not shared and not _is_metered.get():
        return None
    own = cast(Mapping[str, Any], usage_metadata or {})
    # A copy: the application may go on with its own while a stream goes on.
    return Carried(dict(merged(shared, own)), _is_metered.get())


def in_force() -> Carried:
    """What is in force here and now."""
    return Carried(_shared.get(), _is_metered.get())


@functools.lru_cache(maxsize=None)
def is_selective() -> bool:
    """Whether only calls within `revenium_meter` are metered. Read at the first call of the process, as `tags` are."""
    return is_on(os.environ.get("REVENIUM_SELECTIVE_METERING"))


def is_on(value: object) -> bool:
    return str(value).strip().lower() in ("1", "true", "yes", "on")


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Mapping[str, Any]:
    """Both, where `over` wins whatever the spelling; its blank members count as absent."""
    if not under or not over:
        return over or under
    over = {key: value for key, value in over.items() if not _is_blank(value)}
    said = {_plain(key) for key in over}
    # A nested subscriber is the whole of it, and so are the flat members over a nested one.
    if "subscriber" in said:
        said |= {key for key in map(_plain, under) if key.startswith("subscriber_")} | {"credential_alias"}
    elif any(key.startswith("subscriber_") for key in said):
        said |= {"subscriber", "credential_alias"}
    kept = {key: value for key, value in under.items() if _plain(key) not in said}
    return {**kept, **over}


def _is_blank(value: object) -> bool:
    # Not by `==`, which is an array's own affair.
    return value is None or (isinstance(value, str) and not value)


def _plain(key: object) -> str:
    name = re.sub(r"([A-Z])", r"_\1", str(key)).lower() if not str(key).islower() else str(key)
    return _SAME.get(name, name)


@functools.lru_cache(maxsize=None)
def tags() -> Mapping[str, Any]:
    """The environment's tags, read at the first call of the process."""
    found: Dict[str, Any] = {}
    for member, names in _TAGS.items():
        for name in names:
            value = os.environ.get(name, "").strip()
            if value:
                found[member] = int(value) if member == "retry_number" and value.isdigit() else value
                break
    return found


class _Scope:
    """A block, or each run of a function, in which a variable of the context has another value."""

    def __init__(self, var: "ContextVar[Any]", value: Callable[[], Any]) -> None:
        self._var, self._value = var, value
        self._tokens: "ContextVar[List[Token[Any]]]" = ContextVar("tokens")

    def __enter__(self) -> None:
        # A list of its own for each context: tasks that share a block must not end each other's.
        value = safely("a block's metadata", self._value)
        token = self._var.set(self._var.get() if value is None else value)
        self._tokens.set([*self._tokens.get([]), token])

    def __exit__(self, *_: object) -> None:
        safely("leaving a block", self._leave)

    def _leave(self) -> None:
        tokens = self._tokens.get([])
        if not tokens:
            return  # It was entered in another context, of which this one knows nothing.
        *outer, token = tokens
        self._tokens.set(outer)
        try:
            self._var.reset(token)
        except ValueError:
            pass  # The block was left in another context than it was entered in, which keeps its own value.

    def __call__(self, function: F) -> F:
        return safely("decorating a function", self._around, function) or function

    def _around(self, function: F) -> F:
        if inspect.isasyncgenfunction(function):
            wrapper: Callable[..., Any] = self._async_generator(function)
        elif inspect.iscoroutinefunction(function):
            wrapper = self._coroutine(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._generator(function)
        else:
            wrapper = self._function(function)
        return cast(F, functools.wraps(function)(wrapper))

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return run

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return run

    # A generator's body is in the block, and whoever takes its items is not.

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            body = function(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, body)
            try:
                while True:
                    with self:
                        try:
                            item = step()
                        except StopIteration as end:
                            return end.value
                    try:
                        step = functools.partial(body.send, (yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        step = functools.partial(body.throw, error)
            finally:
                with self:
                    body.close()

        return run

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*args: Any, **kwargs: Any) -> Any:
            body = function(*args, **kwargs)
            step: Callable[[], Any] = body.__anext__
            try:
                while True:
                    with self:
                        try:
                            item = await step()
                        except StopAsyncIteration:
                            return
                    try:
                        step = functools.partial(body.asend, (yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        step = functools.partial(body.athrow, error)
            finally:
                with self:
                    await body.aclose()

        return run


def revenium_metadata(**metadata: Any) -> _Scope:
    """Metadata for every call in a `with` block, or in a function that is decorated with it."""
    return _Scope(_shared, lambda: merged(_shared.get(), metadata))


def revenium_meter() -> _Scope:
    """Meters the calls in a `with` block or a decorated function where `REVENIUM_SELECTIVE_METERING` is on."""
    return _Scope(_is_metered, lambda: True)
