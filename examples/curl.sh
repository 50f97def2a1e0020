#!/bin/sh
# One call, metered by the gateway on its way.
curl -sS --fail-with-body "${ANTHROPIC_BASE_URL:-http://127.0.0.1:8794}/v1/messages" \
    -H "x-api-key: $ANTHROPIC_API_KEY" -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
    -H 'x-revenium-trace-id: conv-1' -H 'x-revenium-agent: support-agent' -H 'x-revenium-organization-name: acme-corp' \
    -d '{
        "model": "claude-sonnet-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "What is the meaning of life?"}]
    }'
