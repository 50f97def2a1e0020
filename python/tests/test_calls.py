"""Every way to call a model is metered once, with what the provider said, and no provider hears of its metadata."""

import asyncio
import concurrent.futures
import json
import sys
import threading
from typing import Any, Callable, Dict

import anthropic
import pytest
from conftest import ASK, MODEL, Metered, Provider
from ways import httpx

import revenium_middleware_anthropic  # noqa: F401
from revenium_middleware_anthropic import _batch

MARK = "x-revenium-metered"
BY_A_GATEWAY = {"x-metered-by": "revenium-gateway/0.1.0"}
TAGS = {"trace_id": "conv-1", "task_type": "test", "subscriber": {"id": "user-7"}}


def _all(events: Any) -> None:
    for _ in events:
        pass


def _managed(manager: Any, use: Callable[[Any], Any]) -> None:
    with manager as entered:
        use(entered)


WAYS: Dict[str, Callable[[Any], Any]] = {
    "create": lambda c: c.messages.create(**ASK, usage_metadata=TAGS),
    "create, streamed": lambda c: _all(c.messages.create(**ASK, stream=True, usage_metadata=TAGS)),
    "stream, its text": lambda c: _managed(
        c.messages.stream(**ASK, usage_metadata=TAGS), lambda s: _all(s.text_stream)
    ),
    "stream, its message": lambda c: _managed(
        c.messages.stream(**ASK, usage_metadata=TAGS), lambda s: s.get_final_message()
    ),
    "raw": lambda c: c.messages.with_raw_response.create(**ASK, usage_metadata=TAGS).parse(),
    "raw, streamed": lambda c: _all(
        c.messages.with_raw_response.create(**ASK, stream=True, usage_metadata=TAGS).parse()
    ),
    "raw, compressed": lambda c: c.messages.with_raw_response.create(
        **ASK, metadata={"user_id": "gzip"}, usage_metadata=TAGS
    ).parse(),
    "streaming response, parsed": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, usage_metadata=TAGS), lambda r: r.parse()
    ),
    "streaming response, its bytes": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, usage_metadata=TAGS), lambda r: _all(r.iter_bytes(7))
    ),
    "streaming response, its JSON": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, usage_metadata=TAGS), lambda r: r.json()
    ),
    "streaming response, streamed lines": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, stream=True, usage_metadata=TAGS),
        lambda r: _all(r.iter_lines()),
    ),
    "streaming response, streamed and compressed": lambda c: _managed(
        c.messages.with_streaming_response.create(
            **ASK, stream=True, metadata={"user_id": "gzip"}, usage_metadata=TAGS
        ),
        lambda r: _all(r.iter_bytes(5)),
    ),
    "streaming response, undecoded": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, usage_metadata=TAGS),
        lambda r: _all(r.http_response.iter_raw()),
    ),
    "streaming response, undecoded and compressed": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, metadata={"user_id": "gzip"}, usage_metadata=TAGS),
        lambda r: _all(r.http_response.iter_raw(3)),
    ),
    "streaming response, streamed, undecoded and compressed": lambda c: _managed(
        c.messages.with_streaming_response.create(
            **ASK, stream=True, metadata={"user_id": "gzip"}, usage_metadata=TAGS
        ),
        lambda r: _all(r.http_response.iter_raw(5)),
    ),
    "streaming response, a stream": lambda c: _managed(
        c.messages.with_streaming_response.create(**ASK, stream=True, usage_metadata=TAGS), lambda r: _all(r.parse())
    ),
    "beta create": lambda c: c.beta.messages.create(**ASK, usage_metadata=TAGS),
    "beta create, streamed": lambda c: _all(c.beta.messages.create(**ASK, stream=True, usage_metadata=TAGS)),
    "beta stream": lambda c: _managed(
        c.beta.messages.stream(**ASK, usage_metadata=TAGS), lambda s: s.get_final_message()
    ),
    "beta raw": lambda c: c.beta.messages.with_raw_response.create(**ASK, usage_metadata=TAGS).parse(),
    "parse": lambda c: c.messages.parse(**ASK, output_format=_word(), usage_metadata=TAGS),
    "beta parse": lambda c: c.beta.messages.parse(**ASK, output_format=_word(), usage_metadata=TAGS),
}


def _word() -> Any:
    import pydantic

    class Word(pydantic.BaseModel):
        word: str

    return Word


async def _async_all(events: Any) -> None:
    async for _ in events:
        pass


async def _async_managed(manager: Any, use: Callable[[Any], Any]) -> None:
    async with manager as entered:
        await use(entered)


async def _async_streamed(create: Any) -> None:
    await _async_all(await create)


async def _async_raw(response: Any) -> None:
    parsed = (await response).parse()
    if hasattr(parsed, "__await__"):
        parsed = await parsed
    if hasattr(parsed, "__aiter__"):
        await _async_all(parsed)


ASYNC_WAYS: Dict[str, Callable[[Any], Any]] = {
    "create": lambda c: c.messages.create(**ASK, usage_metadata=TAGS),
    "create, streamed": lambda c: _async_streamed(c.messages.create(**ASK, stream=True, usage_metadata=TAGS)),
    "stream, its text": lambda c: _async_managed(
        c.messages.stream(**ASK, usage_metadata=TAGS), lambda s: _async_all(s.text_stream)
    ),
    "stream, its message": lambda c: _async_managed(
        c.messages.stream(**ASK, usage_metadata=TAGS), lambda s: s.get_final_message()
    ),
    "raw": lambda c: _async_raw(c.messages.with_raw_response.create(**ASK, usage_metadata=TAGS)),
    "raw, streamed": lambda c: _async_raw(c.messages.with_raw_response.create(**ASK, stream=True, usage_metadata=TAGS)),
    "streaming response, its lines": lambda c: _async_managed(
        c.messages.with_streaming_response.create(**ASK, stream=True, usage_metadata=TAGS),
        lambda r: _async_all(r.iter_lines()),
    ),
    "streaming response, undecoded": lambda c: _async_managed(
        c.messages.with_streaming_response.create(
            **ASK, stream=True, metadata={"user_id": "gzip"}, usage_metadata=TAGS
        ),
        lambda r: _async_all(r.http_response.aiter_raw(5)),
    ),
    "streaming response, parsed": lambda c: _async_managed(
        c.messages.with_streaming_response.create(**ASK, usage_metadata=TAGS), lambda r: r.parse()
    ),
    "beta create": lambda c: c.beta.messages.create(**ASK, usage_metadata=TAGS),
    "beta stream": lambda c: _async_managed(
        c.beta.messages.stream(**ASK, usage_metadata=TAGS), lambda s: s.get_final_message()
    ),
    "parse": lambda c: c.messages.parse(**ASK, output_format=_word(), usage_metadata=TAGS),
    "beta parse": lambda c: c.beta.messages.parse(**ASK, output_format=_word(), usage_metadata=TAGS),
}


def _skip_what_the_sdk_lacks(client: Any, way: str) -> None:
    messages = client
    for name in (["beta"] if "beta" in way else []) + ["messages"]:
        messages = getattr(messages, name, None)
    for name in ("parse", "stream"):
        if way in (name, "beta " + name) and not hasattr(messages, name):
            pytest.skip("this version of the SDK has no %s" % way)
    if messages is None:
        pytest.skip("this version of the SDK has no %s" % way)


def _assert_metered_alone(metered: Metered, provider: Provider) -> None:
    call = metered.call()
    assert call["usage"] == {"input_tokens": 25, "output_tokens": 15}
    assert (call["model"], call["stop_reason"], call["ended"]) == (MODEL, "end_turn", "complete")
    assert call["id"].startswith("msg_01")
    # The oldest versions of the SDK do not tell it of a parsed message.
    assert call.get("request_id", "req_").startswith("req_")
    assert call["usage_metadata"] == TAGS
    assert call["request"] == {"model": MODEL, "has_tools": False, "has_vision": False}
    seen = provider.seen()[-1]
    assert call["route"] == seen["path"]
    # The provider is no host of a provider's own, so the request claims its call, and says nothing else of us.
    assert seen["headers"].pop(MARK) == call["middleware"]
    assert "revenium" not in json.dumps(seen).lower() and "usage_metadata" not in json.dumps(seen)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_call_is_metered_once(client: Any, metered: Metered, provider: Provider, way: str) -> None:
    _skip_what_the_sdk_lacks(client, way)
    WAYS[way](client)
    _assert_metered_alone(metered, provider)


@pytest.mark.parametrize("way", ASYNC_WAYS)
def test_every_asynchronous_way_to_call_is_metered_once(metered: Metered, provider: Provider, way: str) -> None:
    async def call() -> None:
        async with anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url, max_retries=0) as client:
            _skip_what_the_sdk_lacks(client, way)
            await ASYNC_WAYS[way](client)

    asyncio.run(call())
    _assert_metered_alone(metered, provider)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_was_metered_nearer_to_the_provider_is_left_to_that(
    client: Any, metered: Metered, way: str
) -> None:
    _skip_what_the_sdk_lacks(client, way)
    WAYS[way](client.with_options(default_headers=BY_A_GATEWAY))
    assert metered.calls() == []


@pytest.mark.parametrize("way", ASYNC_WAYS)
def test_so_is_an_asynchronous_one(metered: Metered, provider: Provider, way: str) -> None:
    async def call() -> None:
        async with anthropic.AsyncAnthropic(
            api_key="sk-test", base_url=provider.url, default_headers=BY_A_GATEWAY
        ) as client:
            _skip_what_the_sdk_lacks(client, way)
            await ASYNC_WAYS[way](client)

    asyncio.run(call())
    assert metered.calls() == []


def test_so_are_one_that_failed_and_the_results_of_a_batch(client: Any, metered: Metered) -> None:
    marked = client.with_options(default_headers=BY_A_GATEWAY)
    with pytest.raises(anthropic.BadRequestError):
        marked.messages.create(**ASK, metadata={"user_id": "http:400"})
    if hasattr(client.messages, "batches"):
        assert len(list(marked.messages.batches.results("msgbatch_marked"))) == 3
    # The next one, which is not marked, is ours again.
    client.messages.create(**ASK)
    assert metered.call()["stop_reason"] == "end_turn"


# What the SDK cannot read, and what it raises itself.
UNREADABLE = [(b'{"id": "msg_1", "usa', json.JSONDecodeError), (b'{"id": "\xff"}', UnicodeDecodeError)]


@pytest.mark.parametrize("content, error", UNREADABLE)
def test_an_answer_that_cannot_be_read_is_metered_once(metered: Metered, content: bytes, error: Any) -> None:
    def answer(request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "application/json"}, content=content)

    async def async_answer(request: Any) -> Any:
        return answer(request)

    async def call() -> None:
        transport = httpx.MockTransport(async_answer)
        async with anthropic.AsyncAnthropic(
            api_key="x", base_url="http://provider", http_client=httpx.AsyncClient(transport=transport)
        ) as client:
            await client.messages.create(**ASK)

    transport = httpx.MockTransport(answer)
    client = anthropic.Anthropic(
        api_key="x", base_url="http://provider", http_client=httpx.Client(transport=transport)
    )
    with pytest.raises(error):
        client.messages.create(**ASK)
    with pytest.raises(error):
        asyncio.run(call())
    assert [(one["ended"], one["error"]) for one in metered.calls()] == [("error", {"class": error.__name__})] * 2


def test_each_turn_of_a_tool_runner_is_a_call(client: Any, metered: Metered) -> None:
    beta_tool = getattr(anthropic, "beta_tool", None)
    if beta_tool is None or not hasattr(client.beta.messages, "tool_runner"):
        pytest.skip("this version of the SDK has no tool runner")

    def weather() -> str:
        """Tells the weather."""
        return "sunny"

    client.beta.messages.tool_runner(**ASK, tools=[beta_tool(weather)], usage_metadata=TAGS).until_done()
    first, second = metered.calls()
    assert (first["stop_reason"], second["stop_reason"]) == ("tool_use", "end_turn")
    assert first["usage_metadata"] == second["usage_metadata"] == TAGS
    assert first["request"]["has_tools"] and first["id"] != second["id"]


def test_counting_tokens_is_not_metered(client: Any, metered: Metered) -> None:
    counter = getattr(client.messages, "count_tokens", None)
    if counter is None:
        pytest.skip("this version of the SDK cannot count tokens")
    assert counter(model=MODEL, messages=ASK["messages"]).input_tokens == 25
    assert metered.calls() == []


@pytest.mark.parametrize("is_beta", [False, True])
def test_each_result_of_a_batch_that_succeeded_is_a_call(client: Any, metered: Metered, is_beta: bool) -> None:
    messages = getattr(getattr(client, "beta", None), "messages", None) if is_beta else client.messages
    batches = getattr(messages, "batches", None)
    if batches is None:
        pytest.skip("this version of the SDK has no batches")
    batch = "msgbatch_of_beta" if is_beta else "msgbatch_1"
    assert len(list(batches.results(batch, usage_metadata=TAGS))) == 3
    told = [(call["id"], call["batch_id"], call["custom_id"], call["usage_metadata"]) for call in metered.calls()]
    assert told == [
        ("msg_of_%s_first" % batch, batch, "first", TAGS),
        ("msg_of_%s_second" % batch, batch, "second", TAGS),
    ]


def test_a_result_is_metered_once_however_often_it_is_read(client: Any, metered: Metered) -> None:
    batches = getattr(client.messages, "batches", None)
    if batches is None:
        pytest.skip("this version of the SDK has no batches")
    half_read = batches.results("msgbatch_again")
    next(iter(half_read))
    # In some versions of the SDK it is a cycle, and whenever that is collected its connection is closed, which hangs in the
    # middle of a request of the same client.
    half_read.close()
    for _ in range(2):
        assert len(list(batches.results("msgbatch_again"))) == 3
    if hasattr(batches.with_raw_response, "results"):
        with batches.with_streaming_response.results("msgbatch_again") as response:
            assert list(response.iter_bytes())
    assert [call["custom_id"] for call in metered.calls()] == ["first", "second"]


def test_what_is_remembered_of_results_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batch, "REMEMBERED_MIN", 10)
    assert all(_batch.is_first("bound %d" % number) for number in range(100))
    assert len(_batch._metered) + len(_batch._metered_before) <= 20
    assert [_batch.is_first("bound %d" % number) for number in (99, 90, 0)] == [False, False, True]


def test_of_threads_that_read_a_result_at_once_one_meters_it() -> None:
    together = threading.Barrier(4)

    def read(_: int) -> int:
        together.wait()
        return sum(_batch.is_first("at once %d" % number) for number in range(60_000))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(read, range(4))) == 60_000
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("way", ["parsed", "raw", "bytes", "undecoded"])
def test_so_is_one_of_results_that_are_read_by_the_application_itself(client: Any, metered: Metered, way: str) -> None:
    batches = getattr(client.messages, "batches", None)
    if not hasattr(getattr(batches, "with_raw_response", None), "results"):
        pytest.skip("this version of the SDK has no raw results of batches")
    batch = "msgbatch_" + way
    if way == "raw":
        assert len(list(batches.with_raw_response.results(batch, usage_metadata=TAGS).parse())) == 3
    else:
        with batches.with_streaming_response.results(batch, usage_metadata=TAGS) as response:
            if way == "parsed":
                list(response.parse())
            else:
                list(response.iter_bytes(7) if way == "bytes" else response.http_response.iter_raw(7))
    told = [(call["id"], call["custom_id"], call["usage_metadata"]) for call in metered.calls()]
    assert told == [("msg_of_%s_%s" % (batch, which), which, TAGS) for which in ("first", "second")]


def test_asynchronous_results_of_a_batch_are_calls(metered: Metered, provider: Provider) -> None:
    async def read() -> int:
        async with anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url) as client:
            if not hasattr(client.messages, "batches"):
                pytest.skip("this version of the SDK has no batches")
            return len([result async for result in await client.messages.batches.results("msgbatch_async")])

    assert asyncio.run(read()) == 3
    assert [call["custom_id"] for call in metered.calls()] == ["first", "second"]


def test_what_the_request_says_is_told(client: Any, metered: Metered) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    ask = {**ASK, "messages": [{"role": "user", "content": [picture]}]}
    tool = {"name": "look", "input_schema": {"type": "object"}}
    # As extras, since not every version of the SDK has parameters for them.
    client.messages.create(**ask, extra_body={"temperature": 0.5, "tools": [tool]})
    request = metered.call()["request"]
    assert request == {"model": MODEL, "has_tools": True, "has_vision": True, "temperature": 0.5}


def test_usage_is_told_as_the_provider_said_it(client: Any, metered: Metered) -> None:
    client.messages.create(**ASK, metadata={"user_id": "cache"})
    _all(client.messages.create(**ASK, stream=True, metadata={"user_id": "cache"}))
    for call in metered.calls():
        assert call["usage"] == {
            "input_tokens": 12,
            "output_tokens": 30,
            "cache_read_input_tokens": 2048,
            "cache_creation_input_tokens": 1300,
            "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 300},
        }


def test_an_application_s_own_extra_body_arrives(client: Any, metered: Metered, provider: Provider) -> None:
    client.messages.create(**ASK, extra_body={"future": 1}, usage_metadata=TAGS)
    assert provider.seen()[-1]["body"]["future"] == 1
    assert metered.call()["usage_metadata"] == TAGS
