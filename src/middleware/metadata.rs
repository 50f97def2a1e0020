//! Whose use a call is: the members of `usage_metadata`, for one request or for all that a task makes.

use std::fmt;

use revenium_emitter::Subscriber;
use serde_json::value::{RawValue, Value};

tokio::task_local! {
    /// What the scopes around this place say.
    static IN_FORCE: Metadata;
}

/// Whose use a call is. What a request says itself wins over an inner scope, and that over an outer one, member by
/// member.
///
/// ```no_run
/// use revenium_middleware::Metadata;
/// # async fn calls() {}
///
/// # async fn example(client: reqwest_middleware::ClientWithMiddleware) -> reqwest_middleware::Result<()> {
/// let request = client.post("https://api.anthropic.com/v1/messages");
/// request.with_extension(Metadata::new().trace_id("conv-1")).send().await?;
///
/// Metadata::new().organization("acme").agent("support").scope(calls()).await;
/// # Ok(())
/// # }
/// ```
///
/// Printing it (`{:?}`) shows the names of its members only.
#[derive(Clone, Default, PartialEq)]
#[must_use = "it says something once it is given to a request, or a scope"]
pub struct Metadata {
    members: serde_json::Map<String, Value>,
}

impl Metadata {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ties several calls together.
    pub fn trace_id(self, id: &str) -> Self {
        self.field("trace_id", id)
    }

    /// What the calls are for.
    pub fn task_type(self, task: &str) -> Self {
        self.field("task_type", task)
    }

    /// Which of your agents calls.
    pub fn agent(self, name: &str) -> Self {
        self.field("agent", name)
    }

    /// Whose customer it is for.
    pub fn organization(self, name: &str) -> Self {
        self.field("organization_id", name)
    }

    /// What of yours they use.
    pub fn product(self, name: &str) -> Self {
        self.field("product_id", name)
    }

    /// The plan they are on.
    pub fn subscription_id(self, id: &str) -> Self {
        self.field("subscription_id", id)
    }

    /// Who uses it. One that is given replaces all of another.
    pub fn subscriber(self, subscriber: &Subscriber) -> Self {
        match serde_json::from_str::<Value>(&subscriber.to_json()) {
            Ok(subscriber) => self.field("subscriber", subscriber),
            // One whose members are given twice is still an object; it is written by us.
            Err(_) => self,
        }
    }

    /// Any other member of `usage_metadata`. What has a setter here has the setter's spelling in merging, so use that
    /// for it.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Runs `future`, in which requests have this metadata. A task that it spawns has none of it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        let merged = Self::in_force().with(&self);
        IN_FORCE.scope(merged, future).await
    }

    /// What the scopes around this place say.
    pub(crate) fn in_force() -> Self {
        IN_FORCE.try_with(Self::clone).unwrap_or_default()
    }

    /// This, and what `other` says, which wins.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.members.extend(other.members.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// It as an object of JSON; `None` if it says nothing.
    pub(crate) fn to_raw(&self) -> Option<Box<RawValue>> {
        (!self.members.is_empty()).then(|| serde_json::value::to_raw_value(&self.members).ok()).flatten()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be addresses and credentials.
        f.debug_set().entries(self.members.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(metadata: &Metadata) -> String {
        metadata.to_raw().map(|raw| raw.get().to_owned()).unwrap_or_default()
    }

    #[tokio::test]
    async fn an_inner_scope_wins_over_an_outer_one_member_by_member_and_ends_with_its_future() {
        let outer = Metadata::new().agent("outer").organization("acme");
        outer
            .scope(async {
                let inner = Metadata::new().agent("inner").field("retry_number", 2);
                let merged = inner.scope(async { said(&Metadata::in_force()) }).await;
                assert_eq!(merged, r#"{"agent":"inner","organization_id":"acme","retry_number":2}"#);
                assert_eq!(said(&Metadata::in_force()), r#"{"agent":"outer","organization_id":"acme"}"#);
            })
            .await;
        assert_eq!(said(&Metadata::in_force()), "");
    }

    #[test]
    fn a_subscriber_replaces_another_whole_and_nothing_of_it_is_printed() {
        let first = Metadata::new().subscriber(&Subscriber::new().id("u-1").email("u1@example.com"));
        let second = Metadata::new().subscriber(&Subscriber::new().id("u-2").credential("key", "hunter2"));
        let both = first.with(&second);
        assert_eq!(
            said(&both),
            r#"{"subscriber":{"credential":{"name":"key","value":"hunter2"},"id":"u-2"}}"#
        );
        assert_eq!(format!("{both:?}"), r#"{"subscriber"}"#);
    }
}
