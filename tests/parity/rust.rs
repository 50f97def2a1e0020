//! The client built on reqwest, with the layer and one that tries again.

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, Middleware, Next, Result};
use revenium_emitter::Emitter;
use revenium_middleware::{Metadata, Metering};

use crate::answers::KINDS;
use crate::clients::body;
use crate::support::Home;

/// Tries a call once more, as Anthropic's SDKs do.
struct Again;

#[async_trait::async_trait]
impl Middleware for Again {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let again = request.try_clone().expect("its body is bytes");
        let answer = next.clone().run(request, extensions).await?;
        if answer.status() == 529 { next.run(again, extensions).await } else { Ok(answer) }
    }
}

/// Makes the calls of all kinds.
pub(crate) async fn calls(home: &Home, base: &str, way: &str, by_gateway: bool) {
    let emitter = Emitter::builder().socket(home.socket()).build();
    let client = reqwest::Client::builder().no_proxy().build().expect("built");
    let client = ClientBuilder::new(client).with(Metering::new(emitter)).with(Again).build();
    for (kind, _) in KINDS {
        let asked = format!("{kind}/{way}");
        let mut request = client.post(format!("{base}/v1/messages")).body(body(kind, way));
        if by_gateway {
            request = request.header("x-revenium-trace-id", &asked);
        }
        let answer = request.with_extension(Metadata::new().trace_id(&asked)).send().await;
        let answer = answer.expect("is answered");
        assert_eq!(answer.status().is_success(), kind != "refused", "{kind}");
        assert_eq!(answer.bytes().await.is_ok(), kind != "cut", "{kind}");
    }
}
