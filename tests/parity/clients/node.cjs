// node.cjs BASE WAY KIND...: makes the calls with Anthropic's SDK, and says what came of each.
const Anthropic = require("@anthropic-ai/sdk");

const [base, way, ...kinds] = process.argv.slice(2);
const client = new Anthropic({ apiKey: "sk-ant-test", baseURL: base, maxRetries: 1 });

async function call(kind) {
  const asked = `${kind}/${way}`;
  const isRich = kind.startsWith("rich");
  const stream = ["stream", "rich-stream", "cut"].includes(kind);
  const more = isRich
    ? {
        thinking: { type: "enabled", budget_tokens: 1024 },
        tools: [{ type: "web_search_20250305", name: "web_search" }],
      }
    : { service_tier: "auto" };
  const body = {
    model: "claude-opus-4",
    max_tokens: 100,
    messages: [{ role: "user", content: "Hello" }],
    metadata: { user_id: asked },
    ...more,
    ...(stream ? { stream } : {}),
  };
  const answer = await client.messages.create(body, { headers: { "x-revenium-trace-id": asked } });
  if (stream) for await (const _ of answer);
}

(async () => {
  for (const kind of kinds) {
    try {
      await call(kind);
      console.log(kind, "answered");
    } catch (error) {
      console.log(kind, error.constructor.name);
    }
  }
})();
