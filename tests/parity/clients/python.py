"""python.py HOW BASE WAY KIND...: makes the calls with Anthropic's SDK, and says what came of each.

HOW is how it calls: create, async, stream or raw. With METERED=1 the package for Python meters.
"""

import asyncio
import os
import sys

import anthropic

how, base, way, *kinds = sys.argv[1:]
is_metered = os.environ.get("METERED") == "1"
if is_metered:
    import revenium_middleware_anthropic  # noqa: F401


def asking(kind):
    asked = f"{kind}/{way}"
    # In headers it is the gateway's to read, and then the package leaves the call to it.
    more = {"usage_metadata": {"trace_id": asked}} if is_metered else {"extra_headers": {"x-revenium-trace-id": asked}}
    if kind.startswith("rich"):
        more["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        more["tools"] = [{"type": "web_search_20250305", "name": "web_search"}]
    else:
        more["service_tier"] = "auto"
    if kind in ("stream", "rich-stream", "cut") and how != "stream":
        more["stream"] = True
    message = {"role": "user", "content": "Hello"}
    return {"model": "claude-opus-4", "max_tokens": 100, "messages": [message], "metadata": {"user_id": asked}, **more}


def call(client, kind):
    asked = asking(kind)
    if how == "stream":
        with client.messages.stream(**asked) as stream:
            return stream.get_final_message()
    if how == "raw":
        answer = client.messages.with_raw_response.create(**asked).parse()
    else:
        answer = client.messages.create(**asked)
    return list(answer) if asked.get("stream") else answer


async def call_async(client, kind):
    asked = asking(kind)
    answer = await client.messages.create(**asked)
    return [event async for event in answer] if asked.get("stream") else answer


def main():
    options = {"api_key": "sk-ant-test", "base_url": base, "max_retries": 1}
    for kind in kinds:
        try:
            if how == "async":
                asyncio.run(call_async(anthropic.AsyncAnthropic(**options), kind))
            else:
                call(anthropic.Anthropic(**options), kind)
            print(kind, "answered")
        except Exception as error:
            print(kind, type(error).__name__)


main()
