//! A value that cannot be printed.
//!
//! `Debug` and `Display` show `***`; [`Secret::masked`] shows at most the scheme at the front and
//! four characters at the end. The bytes are overwritten when the value is dropped: a courtesy
//! against core dumps and swapped pages, not a promise, since copies made while reading a file
//! or building a header are beyond our reach.

use std::fmt;

/// Characters that must stay hidden for the last four to be shown.
const HIDDEN_CHARS_MIN: usize = 12;

/// A key or a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
}

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The value itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Enough to tell two keys apart, such as `hak_…abcd`: the scheme, and the last four
    /// characters if at least twelve more stay hidden.
    pub fn masked(&self) -> String {
        let scheme = scheme(&self.text);
        let rest: Vec<char> = self.text[scheme.len()..].chars().collect();
        if rest.len() < HIDDEN_CHARS_MIN + 4 {
            return format!("{scheme}…");
        }
        let last: String = rest[rest.len() - 4..].iter().collect();
        format!("{scheme}…{last}")
    }
}

/// `hak_`, `rev_mk_` and the like: up to two short words with an underscore each.
fn scheme(text: &str) -> &str {
    let mut end = 0;
    for word in text.split_inclusive('_').take(2) {
        if word.len() > 4 || !word.ends_with('_') || !word.is_ascii() {
            break;
        }
        end += word.len();
    }
    &text[..end]
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.fill(0);
        // Keeps the compiler from leaving out writes to memory that is about to be freed.
        std::hint::black_box(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("rev_mk_0123456789abcdef");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn a_mask_shows_the_scheme_and_at_most_four_characters() {
        let table = [
            ("rev_mk_0123456789abcdef", "rev_mk_…cdef"),
            ("hak_0123456789abcdef", "hak_…cdef"),
            ("hak_0123456789abcde", "hak_…"),
            ("hak_", "hak_…"),
            ("", "…"),
            ("noschemeatallbutquitelong", "…long"),
            ("a_b_c_0123456789abcdef", "a_b_…cdef"),
            ("ключ_0123456789abcdefgh", "…efgh"),
        ];
        for (text, masked) in table {
            assert_eq!(Secret::new(text).masked(), masked, "{text}");
        }
    }
}
