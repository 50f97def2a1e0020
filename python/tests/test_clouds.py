"""Clients of the clouds, whose requests and streams have other shapes, and whose provider is told."""

import asyncio
from typing import Any, Dict

import anthropic
import pytest
from conftest import ASK, MODEL, Metered, Provider

import revenium_middleware_anthropic  # noqa: F401
from revenium_middleware_anthropic import _call, _raw

TAGS = {"trace_id": "conv-1"}


def _client(provider: Provider, cloud: str, is_async: bool = False) -> Any:
    kind = getattr(anthropic, ("Async" if is_async else "") + cloud, None)
    options: Dict[str, Any] = {"base_url": provider.url, "max_retries": 0}
    if cloud == "AnthropicBedrock":
        pytest.importorskip("boto3")
        options.update(aws_access_key="x", aws_secret_key="y", aws_region="us-east-1")
    elif cloud == "AnthropicVertex":
        pytest.importorskip("google.auth")
        options.update(region="us-east5", project_id="p", access_token="t")
    else:
        options.update(api_key="k")
    if kind is None:
        pytest.skip("this version of the SDK has no %s" % cloud)
    return kind(**options)


CLOUDS = {"AnthropicBedrock": "AWS", "AnthropicVertex": "Google Vertex", "AnthropicFoundry": "Foundry"}


@pytest.mark.parametrize(
    "way", ["create", "streamed", "stream", "beta", "raw", "raw, streamed", "lines", "bytes", "undecoded"]
)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_calls_of_a_cloud_s_client_are_metered_once(provider: Provider, metered: Metered, cloud: str, way: str) -> None:
    client = _client(provider, cloud)
    ask = {**ASK, "usage_metadata": TAGS}
    if way == "create":
        client.messages.create(**ask)
    elif way == "streamed":
        list(client.messages.create(**ask, stream=True))
    elif way == "stream":
        with client.messages.stream(**ask) as stream:
            assert stream.get_final_message().usage.output_tokens == 15
    elif way == "beta":
        client.beta.messages.create(**ask)
    elif way == "raw":
        client.messages.with_raw_response.create(**ask).parse()
    elif way == "raw, streamed":
        list(client.messages.with_raw_response.create(**ask, stream=True).parse())
    elif way == "lines" and cloud == "AnthropicBedrock":
        pytest.skip("Amazon's frames are no lines")
    else:
        with client.messages.with_streaming_response.create(**ask, stream=True) as response:
            read = {"lines": "iter_lines", "bytes": "iter_bytes", "undecoded": "iter_raw"}[way]
            assert list(getattr(response.http_response, read)())
    call = metered.call()
    assert (call["provider"], call["ended"], call["model"]) == (CLOUDS[cloud], "complete", MODEL)
    assert call["usage"] == {"input_tokens": 25, "output_tokens": 15}
    seen = provider.seen()[-1]
    # What is signed is not marked: taking the mark out would break the signature.
    assert seen["headers"].pop("x-revenium-metered", None) == (
        None if call["provider"] == "AWS" else call["middleware"]
    )
    assert call["usage_metadata"] == TAGS and "revenium" not in str(seen).lower()


@pytest.mark.parametrize("size", [1, 64, None])
def test_what_goes_wrong_in_amazon_s_frames_is_told(provider: Provider, metered: Metered, size: Any) -> None:
    client = _client(provider, "AnthropicBedrock")
    for how in ("error", "break", "cut"):
        create = client.messages.with_streaming_response.create
        try:
            with create(**ASK, metadata={"user_id": how}, stream=True) as response:
                list(response.iter_bytes(size))
        except Exception:
            assert how == "cut"
    error, broken, cut = metered.calls()
    assert (error["ended"], error["error"]) == ("error", {"type": "throttlingException"})
    assert (broken["ended"], cut["ended"]) == ("cut", "error")
    assert error["usage"] == broken["usage"] == cut["usage"] == {"input_tokens": 25, "output_tokens": 1}


def test_what_are_no_frames_costs_no_memory_and_no_call() -> None:
    for junk in (b"\x7f\xff\xff\xff" + bytes(100_000), bytes(100_000)):
        call = _call.Call(b"", {}, {})
        frames = _raw.Frames(call)
        frames.see(junk)
        assert not frames._rest
        call.forget()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_asynchronous_calls_of_a_cloud_s_client_are_metered_once(
    provider: Provider, metered: Metered, cloud: str
) -> None:
    async def call() -> None:
        async with _client(provider, cloud, is_async=True) as client:
            await client.messages.create(**ASK, usage_metadata=TAGS)
            async for _ in await client.messages.create(**ASK, stream=True, usage_metadata=TAGS):
                pass

    asyncio.run(call())
    told = [(call["provider"], call["usage"]["output_tokens"], call["usage_metadata"]) for call in metered.calls()]
    assert told == [(CLOUDS[cloud], 15, TAGS)] * 2
