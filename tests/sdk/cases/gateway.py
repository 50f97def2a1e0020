"""Calls with Anthropic's own SDK, once at DIRECT and once through the gateway: each must come to the same."""

import asyncio
import os

import anthropic

ASK = {"model": "claude-sonnet-4", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
ATTRIBUTION = {"x-revenium-agent": "support"}


def outcome(call):
    try:
        return call()
    except anthropic.APIStatusError as error:
        return type(error).__name__, error.status_code, error.body
    except Exception as error:
        return type(error).__name__


def plain(client):
    raw = client.messages.with_raw_response.create(**ASK)
    headers = [(name, value) for name, value in raw.headers.multi_items() if name != "x-revenium-metered"]
    return {**raw.parse().model_dump(), "id": ""}, [name for name, _ in headers]


def streamed(client):
    with client.messages.stream(**ASK) as stream:
        return {**stream.get_final_message().model_dump(), "id": ""}


def beta(client):
    return {**client.beta.messages.create(**ASK).model_dump(), "id": ""}


async def asynchronous(url):
    async with anthropic.AsyncAnthropic(api_key="sk-ant-1", base_url=url, default_headers=ATTRIBUTION) as client:
        return {**(await client.messages.create(**ASK)).model_dump(), "id": ""}


def cut(client):
    return [event.type for event in client.messages.create(**ASK, stream=True, metadata={"user_id": "cut"})]


def refused(client):
    return client.messages.create(**ASK, metadata={"user_id": "http:400"})


def overloaded(client):
    return client.with_options(max_retries=1).messages.create(**ASK, metadata={"user_id": "http:529"})


seen = []
for url in (os.environ["DIRECT"], os.environ["ANTHROPIC_BASE_URL"]):
    with anthropic.Anthropic(api_key="sk-ant-1", base_url=url, max_retries=0, default_headers=ATTRIBUTION) as client:
        calls = (plain, streamed, beta, cut, refused, overloaded)
        seen.append([outcome(lambda: call(client)) for call in calls] + [asyncio.run(asynchronous(url))])
for direct, passed in zip(*seen):
    assert direct == passed, (direct, passed)
