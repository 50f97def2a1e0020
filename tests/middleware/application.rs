//! An application: its client with the layer, and what was metered of its calls.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, RequestBuilder};
use revenium_emitter::Emitter;
use revenium_middleware::Metering;
use serde_json::Value;

use crate::provider::Provider;
use crate::support::Home;

/// Far more than anything takes here.
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Application {
    home: Home,
    emitter: Emitter,
}

impl Application {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let emitter = Emitter::builder().socket(home.socket()).build();
        Self { home, emitter }
    }

    pub(crate) fn layer(&self) -> Arc<dyn Middleware> {
        Arc::new(Metering::new(self.emitter.clone()))
    }

    /// A client with the layer alone.
    pub(crate) fn client(&self) -> ClientWithMiddleware {
        with(vec![self.layer()])
    }

    /// The calls that were metered so far, in order.
    pub(crate) fn metered(&self) -> Vec<Value> {
        assert!(self.emitter.flush(LONG).is_complete());
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.home.path("spool")).into_iter().flatten() {
            let text = fs::read_to_string(entry.expect("listed").path()).expect("read");
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
        }
        lines.retain(|line| line.get("hello").is_none());
        lines.sort_by_key(|line| line["n"].as_u64());
        lines.into_iter().map(|mut line| line["call"].take()).collect()
    }

    /// What is looked at of each: its id, how it ended, its tokens in and out.
    pub(crate) fn outlines(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let number = |value: &Value| value.as_u64().map_or("-".to_owned(), |number| number.to_string());
        let outline = |call: &Value| {
            let usage = &call["usage"];
            let (input, output) = (number(&usage["input_tokens"]), number(&usage["output_tokens"]));
            format!("{} {} {input} {output}", text(&call["id"]), text(&call["ended"]))
        };
        self.metered().iter().map(outline).collect()
    }
}

/// A client with these layers, the outermost first.
pub(crate) fn with(layers: Vec<Arc<dyn Middleware>>) -> ClientWithMiddleware {
    let client = reqwest::Client::builder().no_proxy().build().expect("built");
    layers.into_iter().fold(ClientBuilder::new(client), ClientBuilder::with_arc).build()
}

/// A call of a model.
pub(crate) fn ask(client: &ClientWithMiddleware, provider: &Provider) -> RequestBuilder {
    let body =
        r#"{"model":"claude-opus","tools":[{"name":"x"}],"messages":[{"role":"user","content":"Hello"}]}"#;
    client.post(format!("{}/v1/messages?beta=true", provider.url())).body(body)
}
