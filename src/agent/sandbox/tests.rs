//! The stand-in over real HTTP on loopback.

mod fault;
mod outside;
mod record;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::*;

const COMPLETIONS: &str = "/meter/v2/ai/completions";

/// A sandbox and a client for it.
struct Bench {
    sandbox: Sandbox,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body["errors"][0]["code"].as_str().map(str::to_owned)
    }
}

async fn bench(options: Options) -> Bench {
    let sandbox = Sandbox::start(options).await.expect("a sandbox");
    let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
    Bench { sandbox, http }
}

/// No limits, a clock that stands still.
fn plain() -> Options {
    Options {
        requests_per_second: 0,
        error_pattern: None,
        clock: Clock::manual(1_795_420_000_000),
        ..Options::default()
    }
}

fn faulty(steps: Vec<Step>) -> Options {
    Options { faults: Script::steps(steps), ..plain() }
}

fn completion(transaction: &str) -> String {
    format!(
        r#"{{"transactionId":"{transaction}","model":"m","provider":"ANTHROPIC","inputTokenCount":25,"outputTokenCount":15,"totalTokenCount":40,"requestTime":"2026-11-23T07:44:07Z","completionStartTime":"2026-11-23T07:44:08Z","responseTime":"2026-11-23T07:44:08Z","requestDuration":1143,"stopReason":"END"}}"#
    )
}

impl Bench {
    fn request(
        &self,
        path: &str,
        key: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.sandbox.url())).body(body);
        let request = request.header("x-api-key", SANDBOX_KEY).header("content-type", "application/json");
        match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: response.text().await? })
    }

    async fn post(&self, key: &str, body: &str) -> Result<Reply, reqwest::Error> {
        self.send(self.request(COMPLETIONS, Some(key), body.to_owned())).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(self.http.get(format!("{}{path}", self.sandbox.url()))).await.expect("an answer")
    }

    fn counts(&self) -> Counts {
        self.sandbox.counts()
    }

    /// Returns once `is_so`; the other tasks run meanwhile.
    async fn until(&self, is_so: impl Fn(&Counts) -> bool) {
        while !is_so(&self.counts()) {
            tokio::task::yield_now().await;
        }
    }
}
