"""The calls of the recorded cases 01 to 05, 07 and 09 to 11, made with Revenium's SDK for Python."""

import anthropic
import revenium_middleware.anthropic

client = anthropic.Anthropic(max_retries=0)
ASK = {"max_tokens": 100, "messages": [{"role": "user", "content": "Please verify you are ready to assist me."}]}
HAIKU = {"model": "claude-3-haiku-20240307", **ASK}
SONNET = {"model": "claude-sonnet-4-20250514", **ASK}

# 01: the README of the package that came before it.
client.messages.create(**HAIKU, usage_metadata={
    "trace_id": "conv-28a7e9d4", "task_type": "customer-support", "subscriber_id": "user-1234",
    "subscriber_email": "user@example.com", "subscriber_credential_name": "engineering-api-key",
    "subscriber_credential": "cred-value-1", "organization_id": "acme-corp", "subscription_id": "pro-plan-Q1",
    "product_id": "support-bot", "agent": "support-agent", "response_quality_score": 0.92,
})
# 02: nested.
client.messages.create(**HAIKU, usage_metadata={
    "trace_id": "conv-28a7e9d4", "task_type": "customer-support",
    "subscriber": {"id": "user-1234", "email": "user@example.com",
                   "credential": {"name": "engineering-api-key", "value": "cred-value-1"}},
    "organizationName": "AcmeCorp", "productName": "customer-support-chatbot", "effort": "high",
})
# 03: without metadata.
client.messages.create(**HAIKU)
# 04 and 05: both ways to stream.
with client.messages.stream(**HAIKU, usage_metadata={"task_type": "creative", "trace_id": "s-1"}) as stream:
    print("".join(stream.text_stream))
for _ in client.messages.create(**HAIKU, stream=True, usage_metadata={"task_type": "creative"}):
    pass
# 07: a tool's call.
client.messages.create(**SONNET, tools=[
    {"name": "get_weather", "description": "w", "input_schema": {"type": "object", "properties": {}}},
])
# 09: cached tokens, both ways.
client.messages.create(**SONNET, metadata={"user_id": "cache"})
with client.messages.stream(**SONNET, metadata={"user_id": "cache"}) as stream:
    stream.get_final_message()
# 10: calls that fail, and a stream that breaks.
for code in (400, 429, 529):
    try:
        client.messages.create(**SONNET, metadata={"user_id": f"http:{code}"}, usage_metadata={"trace_id": str(code)})
    except anthropic.APIStatusError as error:
        print(type(error).__name__)
try:
    for _ in client.messages.create(**SONNET, stream=True, metadata={"user_id": "cut"}):
        pass
except Exception as error:
    print("stream broke", type(error).__name__)
# 11: prompts, which the environment has turned on.
client.messages.create(**SONNET, system="You are a helpful assistant.")
