//! One event made of flags. What it means is the agent's to judge; here it only becomes JSON.

use clap::Args;
use serde_json::value::RawValue;

/// One event, member by member.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "EventArgs", multiple = true)]
pub struct EventArgs {
    /// The model that was called
    #[arg(long)]
    pub model: Option<String>,
    /// Who served the call, such as Anthropic
    #[arg(long)]
    pub provider: Option<String>,
    /// Tokens sent to the model
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub input_tokens: Option<u64>,
    /// Tokens that came back
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub output_tokens: Option<u64>,
    /// Tokens read from the provider's cache
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub cache_read_tokens: Option<u64>,
    /// Tokens written to the provider's cache
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub cache_creation_tokens: Option<u64>,
    /// Whose customer it was
    #[arg(long, value_name = "NAME")]
    pub organization: Option<String>,
    /// What the customer used
    #[arg(long, value_name = "NAME")]
    pub product: Option<String>,
    /// Who used it
    #[arg(long, value_name = "ID")]
    pub subscriber_id: Option<String>,
    /// Who used it, by address
    #[arg(long, value_name = "EMAIL")]
    pub subscriber_email: Option<String>,
    /// What it was for
    #[arg(long, value_name = "TYPE")]
    pub task_type: Option<String>,
    /// Which agent called the model
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Ties several calls together
    #[arg(long, value_name = "ID")]
    pub trace_id: Option<String>,
    /// Makes the event recognisable if it is sent again: the provider's id of the call
    #[arg(long, value_name = "ID")]
    pub transaction_id: Option<String>,
    /// Any other member; the value is taken as JSON if it is JSON, else as text. Repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = member)]
    pub set: Vec<Member>,
}

/// A member of an event, its value as JSON.
#[derive(Debug, Clone)]
pub struct Member {
    name: String,
    value: Box<RawValue>,
}

impl EventArgs {
    /// The event as a JSON object; empty if no flag was given.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut members: Vec<(&str, Box<RawValue>)> = Vec::new();
        let texts = [
            ("model", &self.model),
            ("provider", &self.provider),
            ("organizationName", &self.organization),
            ("productName", &self.product),
            ("taskType", &self.task_type),
            ("agent", &self.agent),
            ("traceId", &self.trace_id),
            ("transactionId", &self.transaction_id),
        ];
        members.extend(texts.into_iter().filter_map(|(name, text)| Some((name, raw(text.as_ref()?)))));
        let counts = [
            ("inputTokenCount", self.input_tokens),
            ("outputTokenCount", self.output_tokens),
            ("cacheReadTokenCount", self.cache_read_tokens),
            ("cacheCreationTokenCount", self.cache_creation_tokens),
        ];
        members.extend(counts.into_iter().filter_map(|(name, count)| Some((name, raw(&count?)))));
        let subscriber: Vec<_> = [("id", &self.subscriber_id), ("email", &self.subscriber_email)]
            .into_iter()
            .filter_map(|(name, text)| Some((name, raw(text.as_ref()?))))
            .collect();
        if !subscriber.is_empty() {
            members.push(("subscriber", raw(&Object(&subscriber))));
        }
        members.extend(self.set.iter().map(|member| (&*member.name, member.value.clone())));
        if members.is_empty() {
            return Vec::new();
        }
        raw(&Object(&members)).get().as_bytes().to_vec()
    }
}

/// Members in their order, as JSON; their values are not looked at again.
struct Object<'a>(&'a [(&'a str, Box<RawValue>)]);

impl serde::Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("texts, counts and raw JSON can be written as JSON")
}

fn member(text: &str) -> Result<Member, String> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| raw(&value));
    Ok(Member { name: name.to_owned(), value })
}
