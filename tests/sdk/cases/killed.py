"""Calls without end, until it is killed (case 29)."""

import anthropic
import revenium_middleware.anthropic

client = anthropic.Anthropic(max_retries=0)
while True:
    client.messages.create(model="claude-sonnet-4-20250514", max_tokens=10, messages=[{"role": "user", "content": "x"}])
    print("called", flush=True)
