//! The credential of a profile, in the form in which it is sent, and in no other.

use std::fmt;

use reqwest::header::HeaderValue;

/// An API key. Prints as `***`; only the client reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(HeaderValue);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Nothing but white space was given.
    #[error("the API key is empty")]
    Empty,
    /// A header cannot carry it. The text is not shown.
    #[error("the API key has characters other than visible ASCII")]
    NotVisibleAscii,
}

impl ApiKey {
    /// Takes `text` without the white space around it (key files end in a newline).
    pub fn new(text: &str) -> Result<Self, ApiKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::NotVisibleAscii);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| ApiKeyError::NotVisibleAscii)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    pub(super) fn expose(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// A number that changes with the key or the `upstream` it is sent to: enough to see a change
    /// after a restart, too little to tell anything of the key.
    pub fn way_to(&self, upstream: &str) -> u32 {
        let text = format!("{upstream} {}", self.expose());
        let [a, b, c, d, ..] = *uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, text.as_bytes()).as_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether a test's stand-in would take this key.
    #[cfg(test)]
    pub(crate) fn is(&self, text: &str) -> bool {
        self.expose() == text
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_and_is_never_printed() {
        let key = ApiKey::new(" rev_mk_secret\n").expect("a key");
        assert!(key.is("rev_mk_secret"));
        assert_eq!(format!("{key:?} {:?}", key.header()), "ApiKey(***) Sensitive");
        let other = ApiKey::new("rev_mk_other").expect("a key");
        assert_ne!(key.way_to("https://h"), other.way_to("https://h"));
        assert_ne!(key.way_to("https://h"), key.way_to("https://i"));
        assert_eq!(ApiKey::new(" \n"), Err(ApiKeyError::Empty));
        assert_eq!(ApiKey::new("rev mk"), Err(ApiKeyError::NotVisibleAscii));
        assert_eq!(ApiKey::new("rev_mk_é"), Err(ApiKeyError::NotVisibleAscii));
    }
}
