//! One call, metered by a layer of the client that makes it.

use reqwest_middleware::ClientBuilder;
use revenium_middleware::{Emitter, Metadata, Metering, Subscriber};

/// Asks Claude one thing, on behalf of a customer.
async fn ask(question: &str) -> Result<String, Box<dyn std::error::Error>> {
    let emitter = Emitter::new();
    let client = ClientBuilder::new(reqwest::Client::new()).with(Metering::new(emitter)).build();
    let host = std::env::var("ANTHROPIC_BASE_URL").unwrap_or("https://api.anthropic.com".to_owned());
    let body = serde_json::json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": question}],
    });
    let customer = Subscriber::new().id("subscriberid-1234567890").email("user@example.com");
    let answer = client
        .post(format!("{host}/v1/messages"))
        .header("x-api-key", std::env::var("ANTHROPIC_API_KEY")?)
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .body(body.to_string())
        .with_extension(Metadata::new().trace_id("conv-1").subscriber(&customer))
        .send()
        .await?;
    Ok(answer.error_for_status()?.text().await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What is called in a scope has its metadata, too.
    let support = Metadata::new().agent("support-agent").organization("acme-corp");
    println!("{}", support.scope(ask("What is the meaning of life?")).await?);
    Ok(())
}
