"""A stream, metered once: at its end, or with what came of it. What a block's calls have in common is said once."""

import anthropic
from revenium_middleware_anthropic import revenium_metadata

client = anthropic.Anthropic()
with revenium_metadata(agent="support-agent", organization_id="acme-corp"):
    with client.messages.stream(
        model="claude-sonnet-4-5",
        max_tokens=1000,
        messages=[{"role": "user", "content": "What is the meaning of life?"}],
        usage_metadata={"trace_id": "conv-1"},
    ) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
print()
