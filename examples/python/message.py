"""One call, metered from the moment that the package is imported."""

import anthropic
import revenium_middleware_anthropic  # noqa: F401

client = anthropic.Anthropic()
message = client.messages.create(
    model="claude-sonnet-4-5",
    max_tokens=1000,
    messages=[{"role": "user", "content": "What is the meaning of life?"}],
    usage_metadata={"trace_id": "conv-1", "agent": "support-agent", "organization_id": "acme-corp"},
)
print(message.content[0].text)
