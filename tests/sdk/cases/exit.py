"""Five calls, and an ordinary exit (cases 20, 23 and 28)."""

import anthropic
import revenium_middleware.anthropic

client = anthropic.Anthropic(max_retries=0)
for _ in range(5):
    client.messages.create(model="claude-sonnet-4-20250514", max_tokens=10, messages=[{"role": "user", "content": "x"}])
