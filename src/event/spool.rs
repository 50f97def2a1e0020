//! Spool files, pure: what they are called, what is in them, how large they may be.
//!
//! A file has the lines of one producer: first its hello, with the producer, then events with
//! their numbers, ascending. Its name is `<producer>-<first number>.jsonl`. Whoever writes one does so
//! under a name that begins with a dot, flushes it, renames it and flushes the folder; whoever takes
//! one in removes it only once every line is durable elsewhere. The numbers make a line that was
//! also sent otherwise, or is read twice, the same event.

use crate::Producer;

/// Largest spool file, in bytes; writers begin another one before.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// How the names of finished files end.
pub const SUFFIX: &str = ".jsonl";

/// How the names of unfinished files begin.
pub const UNFINISHED_PREFIX: &str = ".";

/// The name of the file of `producer` whose first event has the number `first`.
pub fn file_name(producer: Producer, first: u64) -> String {
    format!("{producer}-{first}{SUFFIX}")
}

/// Whose file this is and where it begins; `None` for a name that is not a spool file's.
pub fn parse_name(name: &str) -> Option<(Producer, u64)> {
    let (producer, first) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let parsed = (Producer::parse(producer)?, first.parse().ok()?);
    // One spelling each: no two names for one file.
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is_and_has_one_spelling() {
        let producer = Producer::from_bytes([0xab; 16]);
        let name = file_name(producer, 17);
        assert_eq!(name, "abababababababababababababababab-17.jsonl");
        assert_eq!(parse_name(&name), Some((producer, 17)));
        for name in [
            "ABABABABABABABABABABABABABABABAB-17.jsonl",
            "abababababababababababababababab-017.jsonl",
            "abababababababababababababababab-+17.jsonl",
            "abababababababababababababababab-.jsonl",
            "abababababababababababababababab-18446744073709551616.jsonl",
            ".abababababababababababababababab-17.jsonl",
            "abababababababababababababababab-17.json",
            "17.jsonl",
            "",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
