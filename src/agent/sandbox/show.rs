//! A received event as one line for a terminal.
//!
//! Shows what a person looks for (kind, model, tokens, whose, what became of it) and no payload.
//! Credentials are masked, by their place and by their look; control characters are replaced, as
//! the text comes from outside.

use super::body::Members;

/// What became of a received event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Stored: it counts on an invoice.
    Billed,
    /// Acknowledged and dropped: its `transactionId` was seen before.
    Repeated,
    /// The same request again: its first answer was given again.
    Replayed,
    /// Answered 201 and never stored: this field is too long.
    Vanished(String),
    /// Not taken, with this status and for this reason.
    Refused(u16, String),
}

/// What was received, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it meters: `completion`, `image`, `audio`, `video`, `tool`, `generic`, `api-request` or `api-response`.
    pub kind: &'static str,
    /// The model, tool or resource.
    pub subject: Option<String>,
    /// Input, output, cache read and cache creation, as they were sent.
    pub tokens: [Option<String>; 4],
    /// The `transactionId`.
    pub transaction: Option<String>,
    /// The `organizationName`.
    pub organization: Option<String>,
    /// The `productName`.
    pub product: Option<String>,
    /// The name of the subscriber's credential, if it came with one.
    pub credential: Option<String>,
    /// What became of it.
    pub fate: Fate,
}

impl Received {
    pub(super) fn new(at_ms: u64, kind: &'static str, members: Option<&Members<'_>>, fate: Fate) -> Self {
        let text = |name: &str| members.and_then(|members| members.scalar(name));
        let credential = members
            .and_then(|members| members.object("subscriber"))
            .and_then(|subscriber| subscriber.object("credential"))
            .and_then(|credential| {
                credential.scalar("name").or_else(|| credential.scalar("value").map(|_| "?".into()))
            })
            .or_else(|| text("subscriberCredential").map(|_| "?".into()));
        Self {
            at_ms,
            kind,
            subject: text("model").or_else(|| text("toolId")).or_else(|| text("resource")),
            tokens: [
                text("inputTokenCount"),
                text("outputTokenCount"),
                text("cacheReadTokenCount"),
                text("cacheCreationTokenCount"),
            ],
            transaction: text("transactionId"),
            organization: text("organizationName"),
            product: text("productName"),
            credential,
            fate,
        }
    }

    /// One line, without its end.
    ///
    /// ```text
    /// 07:44:08.120  completion  claude-3-haiku-20240307  25 in 15 out  msg_01FA..0001  acme-corp/support-bot  billed
    /// ```
    pub fn line(&self) -> String {
        let mut parts = vec![time_of_day(self.at_ms), format!("{:<12}", self.kind)];
        parts.extend(self.subject.as_deref().map(|subject| clean(subject, 40)));
        parts.extend(self.token_part());
        parts.extend(self.transaction.as_deref().map(short));
        parts.extend(match (&self.organization, &self.product) {
            (None, None) => None,
            (Some(organization), None) => Some(clean(organization, 40)),
            (None, Some(product)) => Some(format!("-/{}", clean(product, 40))),
            (Some(organization), Some(product)) => {
                Some(format!("{}/{}", clean(organization, 40), clean(product, 40)))
            }
        });
        parts.extend(self.credential.as_deref().map(|name| format!("credential {}=***", clean(name, 24))));
        parts.push(match &self.fate {
            Fate::Billed => "billed".to_owned(),
            Fate::Repeated => "repeat: transactionId seen before, not billed again".to_owned(),
            Fate::Replayed => "replay: same Idempotency-Key, not billed again".to_owned(),
            Fate::Vanished(field) => format!("VANISHED: {} is too long", clean(field, 40)),
            Fate::Refused(status, why) => format!("REFUSED {status}: {}", clean(why, 120)),
        });
        parts.join("  ")
    }

    fn token_part(&self) -> Option<String> {
        let [input, output, cache_read, cache_creation] = &self.tokens;
        let count = |count: &Option<String>, unit: &str| {
            count
                .as_deref()
                .filter(|digits| *digits != "0")
                .map(|digits| format!("{} {unit}", clean(digits, 20)))
        };
        let both = input.is_some() || output.is_some();
        let or_none = |count: &Option<String>| clean(count.as_deref().unwrap_or("-"), 20);
        let mut words = Vec::new();
        if both {
            words.push(format!("{} in {} out", or_none(input), or_none(output)));
        }
        words.extend(count(cache_read, "read"));
        words.extend(count(cache_creation, "cached"));
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// `07:44:08.120`, UTC.
fn time_of_day(at_ms: u64) -> String {
    let of_day_ms = at_ms % 86_400_000;
    let (seconds, ms) = (of_day_ms / 1_000, of_day_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// At most 14 characters of an id: its two ends.
fn short(id: &str) -> String {
    let id = clean(id, usize::MAX);
    let chars: Vec<char> = id.chars().collect();
    if chars.len() <= 14 {
        return id;
    }
    let ends = (&chars[..8], &chars[chars.len() - 4..]);
    format!("{}..{}", String::from_iter(ends.0), String::from_iter(ends.1))
}

/// At most `chars_max` characters, none of them a control character, and no credential.
fn clean(text: &str, chars_max: usize) -> String {
    if looks_secret(text) {
        return "***".to_owned();
    }
    let is_cut = text.chars().nth(chars_max).is_some();
    let kept = text.chars().take(chars_max).map(|c| if is_unprintable(c) { '?' } else { c });
    kept.chain(is_cut.then_some('~')).collect()
}

/// Control characters, and those that change the direction or vanish.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether any word of `text` begins as well-known credentials do.
fn looks_secret(text: &str) -> bool {
    const PREFIXES: [&str; 12] = [
        "sk-",
        "sk_",
        "hak_",
        "rev_mk_",
        "rev_sk_",
        "rev_rk_",
        "ghp_",
        "github_pat_",
        "xox",
        "AKIA",
        "AIza",
        "eyJ",
    ];
    text.split(|c: char| c.is_whitespace() || matches!(c, '=' | ':' | ',' | '"' | '\''))
        .any(|word| word.len() >= 8 && PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(body: &str, fate: Fate) -> Received {
        let members = Members::parse(body.as_bytes());
        Received::new(1_795_420_088_120, "completion", members.as_ref(), fate)
    }

    #[test]
    fn a_completion_is_one_line() {
        let body = r#"{"model":"claude-3-haiku-20240307","inputTokenCount":25,"outputTokenCount":15,
            "cacheReadTokenCount":2048,"cacheCreationTokenCount":0,"transactionId":"msg_01FAKEAAAA0001",
            "organizationName":"acme-corp","productName":"support-bot",
            "subscriber":{"credential":{"name":"engineering","value":"s3cret"}}}"#;
        assert_eq!(
            received(body, Fate::Billed).line(),
            "07:48:08.120  completion    claude-3-haiku-20240307  25 in 15 out 2048 read  msg_01FA..0001  \
             acme-corp/support-bot  credential engineering=***  billed"
        );
    }

    #[test]
    fn what_is_not_there_is_not_shown() {
        assert_eq!(received("{}", Fate::Repeated).line().split("  ").count(), 5 - 1);
        let product = r#"{"productName":"p","transactionId":"short"}"#;
        assert!(received(product, Fate::Billed).line().contains("  short  -/p  billed"));
        assert!(
            received("[", Fate::Refused(400, "Invalid JSON format".to_owned()))
                .line()
                .ends_with("REFUSED 400: Invalid JSON format")
        );
        assert!(
            received("{}", Fate::Vanished("productName".to_owned()))
                .line()
                .ends_with("VANISHED: productName is too long")
        );
    }

    #[test]
    fn credentials_are_masked_wherever_they_stand() {
        let body = r#"{"model":"sk-ant-api03-abcdefgh","transactionId":"hak_0123456789","organizationName":"x rev_mk_0123456789",
            "productName":"key=ghp_0123456789","subscriberCredential":"plain-words","subscriber":{"credential":{"name":"sk-live-0123"}}}"#;
        let line = received(body, Fate::Billed).line();
        for secret in ["sk-", "hak_", "rev_mk", "ghp_", "plain-words"] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
        assert!(line.contains("***/***"), "{line}");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        let body = r#"{"model":"\u001b[2Jm\nx\u202e","transactionId":"a\u0007b"}"#;
        let line = received(body, Fate::Billed).line();
        assert!(line.chars().all(|c| !is_unprintable(c)), "{line:?}");
        assert!(line.contains("?[2Jm?x?") && line.contains("a?b"), "{line}");
    }

    #[test]
    fn long_texts_are_cut() {
        let body = format!(r#"{{"model":"{}"}}"#, "m".repeat(41));
        let line = received(&body, Fate::Billed).line();
        assert!(line.contains(&format!("{}~", "m".repeat(40))) && !line.contains(&"m".repeat(41)), "{line}");
    }
}
