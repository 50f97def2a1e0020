"""Every way to call a model, with an answer that can be compared, and the provider, a function in the same process."""

import asyncio
import base64
import contextlib
import gzip
import json
import struct
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Set

import anthropic

try:
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef]

NAME = "revenium_middleware_anthropic"

ASK: Dict[str, Any] = {"model": "claude-sonnet-4", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
MESSAGE: Dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4", "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 25, "output_tokens": 15},
}  # fmt: skip
START = {**MESSAGE, "content": [], "stop_reason": None}
EVENTS: List[Dict[str, Any]] = [
    {"type": "message_start", "message": START},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]
SSE = b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in EVENTS)
RESULTS = [{"custom_id": str(n), "result": {"type": "succeeded", "message": {**MESSAGE, "id": n}}} for n in "ab"]


BATCH = {
    "id": "b1", "type": "message_batch", "processing_status": "ended", "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z", "results_url": "http://provider/v1/messages/batches/b1/results",
    "request_counts": {"canceled": 0, "errored": 0, "expired": 0, "processing": 0, "succeeded": 2},
}  # fmt: skip


def framed(event: Dict[str, Any]) -> bytes:
    """In one of Amazon's frames; nobody looks at its checksums."""
    content = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    return struct.pack(">II", 16 + len(content), 0) + bytes(4) + content + bytes(4)


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, content: bytes, is_cut: bool) -> None:
        self._content, self._is_cut = content, is_cut

    def __iter__(self) -> Iterator[bytes]:
        yield from (self._content[at : at + 50] for at in range(0, len(self._content), 50))
        if self._is_cut:
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece


def answer(request: Any) -> Any:
    body = json.loads(request.content or b"{}")
    how = request.headers.get("how", "")
    code, content, kind, headers = 200, json.dumps(MESSAGE).encode(), "application/json", {"request-id": "req_1"}
    if how == "400":
        code, content = 400, b'{"type":"error","error":{"type":"invalid_request_error","message":"as asked"}}'
    elif request.url.path.endswith("/results"):
        content, kind = b"".join(json.dumps(one).encode() + b"\n" for one in RESULTS), "application/x-jsonl"
    elif "batches" in request.url.path:
        content = json.dumps(BATCH).encode()
    elif how == "frames":
        content, kind = b"".join(map(framed, EVENTS)), "application/vnd.amazon.eventstream"
    elif how == "odd":
        content, kind = b"odd", "text/odd"
    elif body.get("stream"):
        content, kind = SSE, "text/event-stream"
    if how in ("gzip", "coded"):
        content, headers["content-encoding"] = gzip.compress(content, mtime=0), how
    if how == "marked":
        headers["x-revenium-metered"] = "another"
    if how == "cut":
        content = content[: len(content) // 2]
    return httpx.Response(code, headers={**headers, "content-type": kind}, stream=Body(content, how == "cut"))


async def async_answer(request: Any) -> Any:
    return answer(request)


# The application. What each way gives is what it gets of the provider's answer.


def ask(how: str = "", **more: Any) -> Dict[str, Any]:
    return {**ASK, "extra_headers": {"how": how}, **more}


def message(of: Any) -> List[Any]:
    return [of.id, of.content[0].text, of.usage.output_tokens, of.stop_reason]


def types(events: Any) -> List[str]:
    return [event.type for event in events]


def managed(manager: Any, use: Callable[[Any], Any]) -> Any:
    with manager as entered:
        return use(entered)


def broken_off(stream: Any) -> str:
    for event in stream:
        break
    stream.close()
    return str(event.type)


def scoped(client: Any) -> List[Any]:
    import revenium_middleware_anthropic as revenium

    got = []
    with revenium.revenium_metadata(agent="a", subscriber={"id": "7"}), revenium.revenium_meter():
        with revenium.revenium_metadata(traceId="b", subscriberEmail="c"):
            got.append(message(client.messages.create(**ask())))

    @revenium.revenium_metadata(agent="function")
    def function() -> Any:
        return message(client.messages.create(**ask()))

    @revenium.revenium_metadata(agent="generator")
    def generator() -> Any:
        with contextlib.suppress(KeyError):
            yield function()
        yield 1

    @revenium.revenium_metadata(agent="coroutine")
    async def coroutine() -> Any:
        return function()

    @revenium.revenium_metadata(agent="asynchronous generator")
    async def async_generator() -> Any:
        with contextlib.suppress(KeyError):
            yield function()
        yield 1

    async def drive() -> Any:
        items = async_generator()
        return [await items.__anext__(), await items.athrow(KeyError()), [item async for item in items]]

    items = generator()
    got += [next(items), items.throw(KeyError()), list(items), asyncio.run(coroutine()), asyncio.run(drive())]
    return got


def bare_scoped(client: Any) -> List[Any]:
    one = message(client.messages.create(**ask()))
    return [one, one, 1, [], one, [one, 1, []]]


CAPTURE = {"capture_prompts": True}

WAYS: Dict[str, Callable[[Any, Dict[str, Any]], Any]] = {
    "create": lambda c, tags: message(c.messages.create(**ask(**tags))),
    "an array, and what is no dict": lambda c, tags: [
        message(c.messages.create(**ask(**({name: value for name in tags})))) for value in ({"a": {1}, "b": object()}, 5)
    ],
    "prompts": lambda c, tags: [
        message(c.messages.create(**ask(**{name: {**tags[name], **CAPTURE} for name in tags}, system="hak_12345678901234, password=12345678"))),
        types(c.messages.create(**ask(stream=True, **{name: CAPTURE for name in tags}))),
    ],
    "create, streamed": lambda c, tags: types(c.messages.create(**ask(stream=True, **tags))),
    "create, broken off": lambda c, tags: broken_off(c.messages.create(**ask(stream=True, **tags))),
    "create, cut": lambda c, tags: types(c.messages.create(**ask("cut", stream=True, **tags))),
    "create, dropped": lambda c, tags: next(iter(c.messages.create(**ask(stream=True, **tags)))).type,
    "create, refused": lambda c, tags: message(c.messages.create(**ask("400", **tags))),
    "create, metered elsewhere": lambda c, tags: message(c.messages.create(**ask("marked", **tags))),
    "create, with a body of its own": lambda c, tags: message(c.messages.create(**ask(extra_body={"x": 1}, **tags))),
    "create, with tools and images": lambda c, tags: message(
        c.messages.create(**ask(extra_body={"tools": [{}], "messages": [{"content": [{"content": [{"type": "image"}]}]}]}, **tags))
    ),
    "stream": lambda c, tags: managed(c.messages.stream(**ask(**tags)), lambda s: message(s.get_final_message())),
    "raw": lambda c, tags: message(c.messages.with_raw_response.create(**ask(**tags)).parse()),
    "raw, streamed": lambda c, tags: types(c.messages.with_raw_response.create(**ask(stream=True, **tags)).parse()),
    **{
        "a streaming response, " + how: lambda c, tags, how=how: managed(  # type: ignore[misc]
            c.messages.with_streaming_response.create(**ask(how, stream=how != "whole", **tags)),
            lambda r: [b"".join(r.iter_bytes(7)).hex()],
        )
        for how in ("whole", "events", "frames", "odd", "cut", "gzip")
    },
    "a streaming response, undecoded": lambda c, tags: managed(
        c.messages.with_streaming_response.create(**ask("gzip", stream=True, **tags)),
        lambda r: gzip.decompress(b"".join(r.http_response.iter_raw(7))).hex(),
    ),
    "a streaming response, in a coding that nobody knows": lambda c, tags: managed(
        c.messages.with_streaming_response.create(**ask("coded", stream=True, **tags)),
        lambda r: gzip.decompress(b"".join(r.http_response.iter_raw(7))).hex(),
    ),
    "a streaming response, parsed": lambda c, tags: managed(
        c.messages.with_streaming_response.create(**ask(**tags)), lambda r: message(r.parse())
    ),
    "beta": lambda c, tags: message(c.beta.messages.create(**ask(**tags))),
    "tokens": lambda c, tags: str(type(c.messages.count_tokens(model="m", messages=ASK["messages"]))),
    "results": lambda c, tags: [message(one.result.message) for one in c.messages.batches.results("b1", **tags)],
    **{
        "results, " + how: lambda c, tags, how=how: [  # type: ignore[misc]
            message(one.result.message)
            for one in c.messages.batches.results("b2", extra_headers={"how": how}, **tags)
        ]
        for how in ("400", "marked")
    },
    **{
        "results, raw, " + how: lambda c, tags, how=how: managed(  # type: ignore[misc]
            c.messages.batches.with_streaming_response.results("b3", extra_headers={"how": how}, **tags),
            lambda r: b"".join(r.http_response.iter_raw()).hex(),
        )
        for how in ("whole", "gzip", "coded", "cut")
    },
    "a block and decorators": lambda c, tags: scoped(c) if NAME in sys.modules else bare_scoped(c),
}  # fmt: skip


async def async_managed(manager: Any, use: Callable[[Any], Any]) -> Any:
    async with manager as entered:
        return await use(entered)


async def async_types(events: Any) -> List[str]:
    return [event.type async for event in await events]


async def async_final(stream: Any) -> Any:
    return message(await stream.get_final_message())


async def async_broken_off(stream: Any) -> Any:
    stream = await stream
    async for event in stream:
        break
    await stream.close()
    return event.type


async def async_bytes(response: Any) -> str:
    return b"".join([piece async for piece in response.iter_bytes(7)]).hex()


async def async_results(results: Any) -> Any:
    return [message(one.result.message) async for one in await results]


async def async_message(made: Any) -> Any:
    return message(await made)


ASYNC_WAYS: Dict[str, Callable[[Any, Dict[str, Any]], Any]] = {
    "create": lambda c, tags: async_message(c.messages.create(**ask(**tags))),
    "refused": lambda c, tags: async_message(c.messages.create(**ask("400", **tags))),
    "create, streamed": lambda c, tags: async_types(c.messages.create(**ask(stream=True, **tags))),
    "create, cut": lambda c, tags: async_types(c.messages.create(**ask("cut", stream=True, **tags))),
    "create, broken off": lambda c, tags: async_broken_off(c.messages.create(**ask(stream=True, **tags))),
    "stream": lambda c, tags: async_managed(c.messages.stream(**ask(**tags)), async_final),
    "results": lambda c, tags: async_results(c.messages.batches.results("b4", **tags)),
    "a streaming response": lambda c, tags: async_managed(
        c.messages.with_streaming_response.create(**ask(stream=True, **tags)), async_bytes
    ),
}


def lacks(client: Any, way: str) -> bool:
    """Whether this version of the SDK has not got it."""
    messages = client.messages
    if way == "beta":
        return not hasattr(getattr(client, "beta", None), "messages")
    needed = {"tokens": "count_tokens", "results": "batches", "stream": "stream"}.get(way.split(",")[0], "create")
    return not hasattr(messages, needed)


def call_all(tags: Dict[str, Any], begun: Callable[[str], Any], ways: Optional[Set[str]] = None) -> Dict[str, str]:
    """What the application gets by each of these ways, or by all."""
    got = {}
    options: Dict[str, Any] = {"api_key": "x", "base_url": "http://provider", "max_retries": 0}
    client = anthropic.Anthropic(**options, http_client=httpx.Client(transport=httpx.MockTransport(answer)))

    async def in_turn() -> None:
        transport = httpx.MockTransport(async_answer)
        async with anthropic.AsyncAnthropic(**options, http_client=httpx.AsyncClient(transport=transport)) as client:
            for way, call in ASYNC_WAYS.items():
                if not lacks(client, way) and (ways is None or "async " + way in ways):
                    begun("async " + way)
                    try:
                        got["async " + way] = repr(await call(client, tags))
                    except Exception as error:
                        got["async " + way] = "%s %s" % (type(error).__name__, getattr(error, "status_code", ""))

    for way, call in WAYS.items():
        if not lacks(client, way) and (ways is None or way in ways):
            begun(way)
            try:
                got[way] = repr(call(client, tags))
            except Exception as error:
                got[way] = "%s %s" % (type(error).__name__, getattr(error, "status_code", ""))
    asyncio.run(in_turn())
    return got
