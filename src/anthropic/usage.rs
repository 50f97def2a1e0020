//! The provider's `usage`, read as the amounts that are billed.
//!
//! | `usage` | event |
//! |---|---|
//! | `input_tokens`, `output_tokens` | `inputTokenCount`, `outputTokenCount`; 0 when absent |
//! | `cache_read_input_tokens` | `cacheReadTokenCount` |
//! | `cache_creation_input_tokens` | `cacheCreationTokenCount`; when absent, the sum of the split |
//! | `cache_creation.ephemeral_5m_input_tokens`, `…1h…` | `cacheCreation5mTokenCount`, `cacheCreation1hTokenCount` |
//! | what the split leaves of the whole | `attributes.cacheCreationUnsplitTokenCount` |
//! | `output_tokens_details.thinking_tokens` | `reasoningTokenCount`, which is part of the output |
//! | `service_tier` | `actualServiceTier`; `batch` is `pricingTier` BATCH too |
//! | `speed` | `speed` |
//! | `server_tool_use.*` (`web_search_requests`, `web_fetch_requests`, …) | `attributes.*` |
//! | `iterations` of a type that is billed apart | an event each |
//! | anything else | `attributes.*`, verbatim |
//!
//! The buckets are disjoint: cached tokens are in none of the others, and `totalTokenCount` is input and
//! output only. What the provider does not state is 0, the split apart, whose absence means that it is not
//! known. Counts are copied as digits; whether one is an amount is judged by freezing, so that there is one
//! such judge.

use std::borrow::Cow;

use revenium_event::depth_of;
use revenium_event::limits::DEPTH_MAX;
use serde_json::value::RawValue;

use crate::members::{Members, Writer, whole};

/// Most bytes of usage members that are not known and kept under `attributes`, all together.
// A usage of today has 700 bytes. An event is sent with every such byte, so a provider that sends
// stories gets a stop.
const REST_BYTES_MAX: usize = 16 * 1024;

/// How deep such a member may go: an event that nests deeper than it may would be refused, amounts and all.
const REST_DEPTH_MAX: usize = DEPTH_MAX - 2;

/// Iterations that are billed outside of the totals.
const BILLED: [&str; 2] = ["advisor_message", "compaction"];
/// Iterations whose tokens the totals hold.
const COUNTED: [&str; 2] = ["message", "fallback_message"];

/// Where each amount comes from: its name in the event, and its path in `usage`.
pub(crate) const AMOUNTS: [(&str, &str); 7] = [
    ("inputTokenCount", "input_tokens"),
    ("outputTokenCount", "output_tokens"),
    ("cacheReadTokenCount", "cache_read_input_tokens"),
    ("cacheCreationTokenCount", "cache_creation_input_tokens"),
    ("cacheCreation5mTokenCount", "cache_creation.ephemeral_5m_input_tokens"),
    ("cacheCreation1hTokenCount", "cache_creation.ephemeral_1h_input_tokens"),
    ("reasoningTokenCount", "output_tokens_details.thinking_tokens"),
];

/// One `usage`, or one entry of its `iterations`.
#[derive(Debug, Default)]
pub(crate) struct Usage<'a> {
    members: Members<'a>,
    created: Members<'a>,
    details: Members<'a>,
}

impl<'a> Usage<'a> {
    /// Reads the object that `raw` is; None if it is none.
    pub(crate) fn read(raw: &'a str) -> Option<Usage<'a>> {
        let members = Members::read(raw)?;
        let created = members.object("cache_creation").unwrap_or_default();
        let details = members.object("output_tokens_details").unwrap_or_default();
        Some(Usage { members, created, details })
    }

    /// Whether it states an amount at all.
    pub(crate) fn is_stated(&self) -> bool {
        ["input_tokens", "output_tokens"].into_iter().any(|name| self.members.get(name).is_some())
    }

    /// The first known member that is given twice: nobody can say which counts.
    pub(crate) fn twice(&self) -> Option<&'static str> {
        self.members
            .twice(&KNOWN)
            .or_else(|| self.created.twice(&SPLIT))
            .or_else(|| self.details.twice(&["thinking_tokens"]))
    }

    /// Adds the amounts to an event.
    pub(crate) fn put_amounts(&self, event: &mut Writer) {
        let get = |name| self.members.get(name);
        event.put("inputTokenCount", get("input_tokens").unwrap_or("0"));
        event.put("outputTokenCount", get("output_tokens").unwrap_or("0"));
        event.put_some("totalTokenCount", self.total().map(|total| total.to_string()).as_deref());
        event.put("cacheReadTokenCount", get("cache_read_input_tokens").unwrap_or("0"));
        event.put("cacheCreationTokenCount", &self.created_raw());
        if !self.split_contradicts() {
            event.put_some("cacheCreation5mTokenCount", self.created.get(SPLIT[0]));
            event.put_some("cacheCreation1hTokenCount", self.created.get(SPLIT[1]));
        }
        event.put("reasoningTokenCount", self.details.get("thinking_tokens").unwrap_or("0"));
    }

    /// Input and output together; None if that is no count, which freezing then says.
    fn total(&self) -> Option<u64> {
        let [input, output] =
            ["input_tokens", "output_tokens"].map(|name| self.members.get(name).map_or(Some(0), whole));
        input?.checked_add(output?)
    }

    /// The raw value of a member that is no amount.
    pub(crate) fn label(&self, name: &str) -> Option<&'a str> {
        self.members.get(name)
    }

    /// A member that is text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.members.text(name)
    }

    /// Whether the provider says that it was a batch's call.
    pub(crate) fn is_batch(&self) -> bool {
        self.members.text("service_tier").as_deref() == Some("batch")
    }

    /// Adds what has no field of its own, these members apart. Tells whether all of it found room.
    pub(crate) fn put_rest(&self, attributes: &mut Writer, apart: &[&str]) -> bool {
        let mut room_bytes = REST_BYTES_MAX;
        let mut put = |name: &str, raw: &str| {
            let fits = depth_of(raw) <= REST_DEPTH_MAX;
            let left = room_bytes.checked_sub(name.len() + raw.len()).filter(|_| fits);
            if let Some(left) = left {
                room_bytes = left;
                attributes.put(name, raw);
            }
            left.is_some()
        };
        let mut is_whole = true;
        if let Some(unsplit) = self.unsplit().filter(|&count| count > 0) {
            is_whole &= put("cacheCreationUnsplitTokenCount", &unsplit.to_string());
        }
        for (name, raw) in self.members.iter() {
            is_whole &= match name {
                "server_tool_use" => match Members::read(raw) {
                    // Each of them, whatever became of the one before.
                    Some(tools) => tools.iter().fold(true, |whole, (tool, raw)| put(tool, raw) && whole),
                    None => put(name, raw),
                },
                "cache_creation" if self.split_is_all(raw) => true,
                "output_tokens_details" if self.details_are_all(raw) => true,
                "iterations" if self.knows_iterations() => true,
                name if PLACED.contains(&name) || apart.contains(&name) => true,
                name => put(name, raw),
            };
        }
        is_whole
    }

    /// The iterations that are billed apart, each with its place among all of them.
    pub(crate) fn billed(&self) -> Vec<(usize, Usage<'a>)> {
        let iterations = self.iterations().into_iter().enumerate();
        iterations
            .filter_map(|(at, raw)| Some((at, Usage::read(raw)?)))
            .filter(|(_, usage)| usage.is_of(&BILLED))
            .collect()
    }

    fn is_of(&self, types: &[&str]) -> bool {
        self.members.text("type").is_some_and(|kind| types.contains(&&*kind))
    }

    fn iterations(&self) -> Vec<&'a str> {
        let list =
            self.members.get("iterations").and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw).ok());
        list.unwrap_or_default().into_iter().map(RawValue::get).collect()
    }

    fn knows_iterations(&self) -> bool {
        let iterations = self.iterations();
        let is_known =
            |raw| Usage::read(raw).is_some_and(|usage| usage.is_of(&BILLED) || usage.is_of(&COUNTED));
        !iterations.is_empty() && iterations.into_iter().all(is_known)
    }

    /// What was written to the cache: what the provider says, else the sum of its split.
    fn created_raw(&self) -> Cow<'a, str> {
        match self.members.get("cache_creation_input_tokens") {
            Some(said) => Cow::Borrowed(said),
            None => Cow::Owned(self.split_sum().unwrap_or(0).to_string()),
        }
    }

    /// The sum of the split; None if there is no split, or not one that adds up.
    fn split_sum(&self) -> Option<u64> {
        let parts = SPLIT.map(|name| self.created.get(name));
        if parts.iter().all(Option::is_none) {
            return None;
        }
        let [five_minutes, hour] = parts.map(|part| part.map_or(Some(0), whole));
        five_minutes?.checked_add(hour?)
    }

    /// What the split leaves of the whole; negative is None.
    fn unsplit(&self) -> Option<u64> {
        whole(self.members.get("cache_creation_input_tokens")?)?.checked_sub(self.split_sum()?)
    }

    /// Whether the split is more than the whole: one of an earlier moment, which prices nothing.
    fn split_contradicts(&self) -> bool {
        let said = self.members.get("cache_creation_input_tokens").and_then(whole);
        matches!((said, self.split_sum()), (Some(said), Some(sum)) if sum > said)
    }

    /// Whether the fields for the split hold all that `cache_creation` says.
    fn split_is_all(&self, raw: &str) -> bool {
        let is_known = self.created.iter().all(|(name, _)| SPLIT.contains(&name));
        raw.starts_with('{') && is_known && !self.split_contradicts()
    }

    /// Whether the field for thinking holds all that `output_tokens_details` says.
    fn details_are_all(&self, raw: &str) -> bool {
        raw.starts_with('{') && self.details.iter().all(|(name, _)| name == "thinking_tokens")
    }
}

const SPLIT: [&str; 2] = ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"];

/// Members that have a place in the event, whatever they hold.
const PLACED: [&str; 6] = [
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "service_tier",
    "speed",
];

/// Members that decide about money.
const KNOWN: [&str; 8] = [
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "iterations",
    "service_tier",
];
