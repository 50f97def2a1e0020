//! Which of the provider's routes are metered, and why the others are not.
//!
//! | route | metered | because |
//! |---|---|---|
//! | `/v1/messages`, plain and streamed, beta or not; the same on Foundry (`/anthropic/v1/messages`), Bedrock (`/model/{id}/invoke`, `…/invoke-with-response-stream`) and Vertex (`…:rawPredict`, `…:streamRawPredict`) | yes | each answer states its `usage` |
//! | `/v1/messages/batches/{id}/results` | yes, each line | that is where the calls of a batch state theirs; reading it twice gives the same ids |
//! | `/v1/messages/batches`, `…/{id}`, `…/cancel` | no | they run nothing by themselves: the results are metered |
//! | `/v1/messages/count_tokens` and its likes on Bedrock and Vertex | no | free of charge; its count is an estimate for a call that may never be made |
//! | `/v1/complete` | no | retired; its answers state no usage, and we do not guess |
//! | `/v1/models`, `/v1/files`, `/v1/skills` | no | free of charge; what a model reads of a file or a skill is input of the message that uses it |
//! | `/v1/sessions`, `/v1/agents`, `/v1/deployments`, `/v1/dreams` and what belongs to them (managed agents) | no | a session is charged by its time and by tokens that its events tell later, not by the answer to a call; not metered yet |
//! | `/v1/environments`, `/v1/vaults`, `/v1/memory_stores`, `/v1/tunnels`, `/v1/user_profiles`, `/v1/organizations` | no | they manage, no model runs |
//! | any other | if its answer states a `usage` | a route that comes tomorrow should not be lost |
//!
//! What a message costs beside tokens and is in no `usage`, such as the hours of a code execution's
//! container, nobody can meter from the answer.

/// The field that says who has metered a call, or is about to: on a request a middleware of the application, on an
/// answer the layer nearest to the provider. That one counts.
pub const METERED: &str = "x-revenium-metered";

/// A route of the provider, as far as metering cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// One message, plain or streamed.
    Messages,
    /// The results of a batch, a message a line.
    BatchResults,
    /// Batches, their results apart.
    Batches,
    /// Counting tokens.
    CountTokens,
    /// The retired completions.
    Complete,
    /// Models, files and skills.
    Free,
    /// Managed agents.
    ManagedAgents,
    /// Keys, users, vaults and the like.
    Management,
    /// One that is not known.
    Other,
}

impl Route {
    /// The route that a path (with or without host prefix and query) or a client's method, such as
    /// `beta.messages.stream`, leads to.
    pub fn of(named: &str) -> Route {
        let path = named.split(['?', '#']).next().unwrap_or_default();
        if let Some(route) = of_a_cloud(path) {
            return route;
        }
        let words: Vec<&str> = path.split(if path.contains('/') { '/' } else { '.' }).collect();
        // What stands before `v1` is a proxy's or a cloud's own prefix.
        let after = words.iter().rposition(|word| *word == "v1").map_or(0, |at| at + 1);
        let mut words = words[after..].iter().copied().filter(|word| !word.is_empty() && *word != "beta");
        match words.next() {
            Some("messages") => of_messages(words),
            Some("complete" | "completions") => Route::Complete,
            Some("models" | "files" | "skills") => Route::Free,
            Some("sessions" | "agents" | "deployments" | "deployment_runs" | "dreams") => {
                Route::ManagedAgents
            }
            Some(
                "environments" | "vaults" | "memory_stores" | "tunnels" | "user_profiles" | "organizations"
                | "organization",
            ) => Route::Management,
            _ => Route::Other,
        }
    }

    /// Whether its answers make events. Of [`Route::Other`]: those that state a usage.
    pub fn is_metered(self) -> bool {
        matches!(self, Route::Messages | Route::BatchResults | Route::Other)
    }
}

fn of_messages<'a>(mut words: impl Iterator<Item = &'a str>) -> Route {
    match words.next() {
        Some("count_tokens") => Route::CountTokens,
        Some("batches") if words.last() == Some("results") => Route::BatchResults,
        Some("batches") => Route::Batches,
        _ => Route::Messages,
    }
}

/// Routes of Bedrock and Vertex, which name the model in the path and the method behind it.
fn of_a_cloud(path: &str) -> Option<Route> {
    let last = path.rsplit('/').next().unwrap_or_default();
    if let Some((model, "rawPredict" | "streamRawPredict")) = last.rsplit_once(':') {
        return Some(if model == "count-tokens" { Route::CountTokens } else { Route::Messages });
    }
    match last {
        "invoke" | "invoke-with-response-stream" => Some(Route::Messages),
        "count-tokens" => Some(Route::CountTokens),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn every_endpoint_is_metered_or_is_known_not_to_be() {
        let table = [
            ("/v1/messages", Route::Messages),
            ("/v1/messages?beta=true", Route::Messages),
            ("/prefix/anthropic/v1/messages/", Route::Messages),
            ("messages", Route::Messages),
            ("messages.create", Route::Messages),
            ("beta.messages.stream", Route::Messages),
            ("beta.messages.tool_runner", Route::Messages),
            ("/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/invoke", Route::Messages),
            ("/model/anthropic.claude-3-haiku-20240307-v1:0/invoke-with-response-stream", Route::Messages),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4@20250514:streamRawPredict",
                Route::Messages,
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
                Route::CountTokens,
            ),
            ("/v1/messages/count_tokens?beta=true", Route::CountTokens),
            ("messages.count_tokens", Route::CountTokens),
            ("/model/anthropic.claude-3/count-tokens", Route::CountTokens),
            ("/v1/messages/batches", Route::Batches),
            ("/v1/messages/batches/msgbatch_1/cancel", Route::Batches),
            ("/v1/messages/batches/msgbatch_1/results", Route::BatchResults),
            ("beta.messages.batches.results", Route::BatchResults),
            ("/v1/complete", Route::Complete),
            ("/v1/models/claude-opus-4", Route::Free),
            ("beta.files.upload", Route::Free),
            ("/v1/skills/s/versions", Route::Free),
            ("/v1/sessions/s/events", Route::ManagedAgents),
            ("/v1/organizations/me", Route::Management),
            ("/v1/vaults", Route::Management),
            ("/v1/tomorrow", Route::Other),
            ("", Route::Other),
        ];
        for (named, route) in table {
            assert_eq!(Route::of(named), route, "{named}");
        }
        let metered: Vec<Route> =
            table.map(|(_, route)| route).into_iter().filter(|route| route.is_metered()).collect();
        assert!(
            metered.iter().all(|route| matches!(route, Route::Messages | Route::BatchResults | Route::Other))
        );
    }
}
