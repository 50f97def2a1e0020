"""A stream is metered once, with what was seen of it, however it ends; and a call that fails with what is known."""

import asyncio
import gc
from typing import Any

import anthropic
import pytest
from conftest import ASK, MODEL, App, Metered, Provider

import revenium_middleware_anthropic  # noqa: F401


def _how(how: str) -> Any:
    return {**ASK, "metadata": {"user_id": how}}


def test_a_stream_that_the_application_breaks_off_is_cancelled_at_once(client: Any, metered: Metered) -> None:
    for event in client.messages.create(**ASK, stream=True):
        if event.type == "content_block_delta":
            break
    call = metered.call()
    assert (call["ended"], call["usage"]) == ("cancelled", {"input_tokens": 25, "output_tokens": 1})
    assert call["id"].startswith("msg_01") and "stop_reason" not in call
    assert 0 <= call["time_to_first_token_ms"] <= call["duration_ms"]


def test_a_stream_that_is_closed_is_cancelled_at_once(client: Any, metered: Metered) -> None:
    stream = client.messages.create(**ASK, stream=True)
    next(stream)
    stream.close()
    assert metered.call()["ended"] == "cancelled"
    del stream
    gc.collect()
    assert len(metered.calls()) == 1


def test_a_managed_stream_that_is_left_is_cancelled(client: Any, metered: Metered) -> None:
    with client.messages.stream(**ASK) as stream:
        next(iter(stream))
    assert metered.call()["ended"] == "cancelled"


def test_a_stream_that_nobody_read_is_metered_when_it_is_dropped(client: Any, metered: Metered) -> None:
    stream = client.messages.create(**ASK, stream=True)
    assert metered.calls() == []
    del stream
    gc.collect()
    call = metered.call()
    assert call["ended"] == "cancelled" and "usage" not in call


def test_a_stream_that_is_read_to_its_last_event_is_complete_though_it_is_then_closed(
    client: Any, metered: Metered
) -> None:
    with client.messages.create(**ASK, stream=True) as stream:
        for event in stream:
            if event.type == "message_stop":
                break
    call = metered.call()
    assert (call["ended"], call["stop_reason"], call["usage"]["output_tokens"]) == ("complete", "end_turn", 15)


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_stream_that_the_provider_cuts_has_failed(client: Any, metered: Metered, is_raw: bool) -> None:
    with pytest.raises(Exception, match=r"."):
        if is_raw:
            with client.messages.with_streaming_response.create(**_how("cut"), stream=True) as response:
                list(response.iter_lines())
        else:
            list(client.messages.create(**_how("cut"), stream=True))
    call = metered.call()
    assert (call["ended"], call["usage"]) == ("error", {"input_tokens": 25, "output_tokens": 1})
    assert call["error"]["class"] == "RemoteProtocolError" and "status" not in call["error"]


def test_a_stream_that_ends_early_in_good_order_is_cut(client: Any, metered: Metered) -> None:
    list(client.messages.create(**_how("break"), stream=True))
    assert metered.call()["ended"] == "cut"


@pytest.mark.parametrize("is_raw", [False, True])
def test_an_error_in_a_stream_is_told_without_its_message(client: Any, metered: Metered, is_raw: bool) -> None:
    if is_raw:
        with client.messages.with_streaming_response.create(**_how("error"), stream=True) as response:
            list(response.iter_lines())
    else:
        with pytest.raises(anthropic.APIError):
            list(client.messages.create(**_how("error"), stream=True))
    call = metered.call()
    assert call["ended"] == "error" and call["error"]["type"] == "overloaded_error"
    # The stream began with a 200, which is not the error's.
    assert call["error"].get("status") != 200
    assert "as asked" not in str(call)
    assert call["usage"]["input_tokens"] == 25


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_that_cannot_be_read_is_told_without_usage(app: App, is_streamed: bool) -> None:
    script = """
ASK["metadata"] = {"user_id": "odd"}
for _ in range(2):
    with client.messages.with_streaming_response.create(**ASK, stream=%s) as response:
        assert len(list(response.http_response.iter_raw()))
"""
    (line,) = [line for line in app.run(script % is_streamed).splitlines() if "no revenium-agent" not in line]
    assert "an answer is read as it came, compressed by odd" in line
    told = [(call["ended"], call["request"]["model"], "usage" in call) for call in app.spooled()]
    assert told == [("cut", MODEL, False)] * 2


@pytest.mark.parametrize("way", ["break", "close", "cancel", "exception"])
def test_an_asynchronous_stream_ends_once(metered: Metered, provider: Provider, way: str) -> None:
    async def read(client: Any) -> None:
        stream = await client.messages.create(**ASK, stream=True)
        async for _ in stream:
            if way == "close":
                await stream.close()
            elif way == "cancel":
                raise asyncio.CancelledError
            elif way == "exception":
                raise RuntimeError("the application's own")
            break

    async def main() -> None:
        async with anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url, max_retries=0) as client:
            try:
                await read(client)
            except (asyncio.CancelledError, RuntimeError):
                pass

    asyncio.run(main())
    gc.collect()
    call = metered.call()
    assert (call["ended"], call["usage"]) == ("cancelled", {"input_tokens": 25, "output_tokens": 1})


def test_a_call_that_is_cancelled_while_it_waits_is_cancelled(metered: Metered, provider: Provider) -> None:
    async def main() -> None:
        async with anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url) as client:
            task = asyncio.ensure_future(client.messages.create(**ASK))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    call = metered.call()
    assert call["ended"] == "cancelled" and "usage" not in call


@pytest.mark.parametrize("code, name", [(400, "BadRequestError"), (429, "RateLimitError"), (529, "OverloadedError")])
def test_a_call_that_fails_is_told_with_its_status(client: Any, metered: Metered, code: int, name: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**_how("http:%d" % code), usage_metadata={"trace_id": "t"})
    call = metered.call()
    assert call["error"]["status"] == code and call["error"]["class"] == type(raised.value).__name__
    assert call["error"]["class"] in (name, "InternalServerError")
    assert (call["ended"], call["request"]["model"], call["request_id"][:4]) == ("error", ASK["model"], "req_")
    assert call["usage_metadata"] == {"trace_id": "t"} and "as asked" not in str(call)


def test_a_call_that_reaches_nobody_is_told(metered: Metered) -> None:
    client = anthropic.Anthropic(api_key="sk-test", base_url="http://127.0.0.1:1", max_retries=0)
    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**ASK)
    assert metered.call()["error"] == {"class": "APIConnectionError"}


def test_retries_of_the_sdk_are_one_call(metered: Metered, provider: Provider) -> None:
    client = anthropic.Anthropic(api_key="sk-test", base_url=provider.url, max_retries=1)
    before = len(provider.seen())
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**_how("http:429"))
    assert len(provider.seen()) == before + 2
    assert metered.call()["error"]["status"] == 429


def test_what_fails_before_anything_is_sent_is_no_call(client: Any, metered: Metered) -> None:
    with pytest.raises(TypeError):
        client.messages.create(model="m")
    with pytest.raises(TypeError):
        client.messages.create(**ASK, extra_body={"no JSON": object()})
    assert metered.calls() == []
