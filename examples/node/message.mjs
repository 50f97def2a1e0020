// One stream, metered by the gateway on its way: ANTHROPIC_BASE_URL=http://127.0.0.1:8794 node message.mjs
import Anthropic from "@anthropic-ai/sdk";

// Whose use it is, fields say; they do not reach Anthropic.
const client = new Anthropic({
  defaultHeaders: { "x-revenium-agent": "support-agent", "x-revenium-organization-name": "acme-corp" },
});

const stream = client.messages.stream(
  {
    model: "claude-sonnet-4-5",
    max_tokens: 1000,
    messages: [{ role: "user", content: "What is the meaning of life?" }],
  },
  { headers: { "x-revenium-trace-id": "conv-1" } },
);
stream.on("text", (text) => process.stdout.write(text));
await stream.finalMessage();
process.stdout.write("\n");
