//! Server-sent events, read as they come: bytes in any split, any of the three line endings, comments,
//! and deltas of any size in bounded memory.
//!
//! Of a line at most [`DATA_BYTES_MAX`] bytes are held, and as many of an event's data; an event that has
//! more is passed on as [`Data::Skimmed`]. Of events whose name tells that their data is of no concern,
//! nothing is held at all. What a stream ends in the middle of is passed on too: its reader knows whether
//! the data is whole. Which events there are is [`crate::Stream`]'s business.

use memchr::memchr2;

/// Most bytes of an event's data that are held.
// The start of a message has 700 bytes, its last delta with thirty iterations 8 KiB. A search result, which is
// skimmed, may have megabytes.
pub(crate) const DATA_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of an event's name; no known one has more than twenty.
const NAME_BYTES_MAX: usize = 64;

/// Most bytes of a line that is skimmed: enough to know its field.
const SKIMMED_BYTES_MAX: usize = 16;

/// Most bytes of buffers that are kept between events.
const IDLE_BYTES_MAX: usize = 4 * 1024;

/// The data of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Data<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was not held, or not to its end.
    Skimmed,
}

/// The reader. Events are handed to a function as they end.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    /// What came of the current line.
    line: Vec<u8>,
    /// Whether more came of it than is held.
    line_is_cut: bool,
    /// Whether the last byte was a carriage return: a line feed belongs to it.
    after_return: bool,
    /// Whether a line has ended: the first may begin with a byte order mark.
    has_begun: bool,
    name: Vec<u8>,
    data: Option<Vec<u8>>,
    data_is_cut: bool,
}

impl Sse {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8], on: &mut impl FnMut(&[u8], Data<'_>)) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.after_return) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = memchr2(b'\n', b'\r', bytes) {
            self.hold(&bytes[..at]);
            self.end_line(on);
            let is_return = bytes[at] == b'\r';
            bytes = &bytes[at + 1..];
            if is_return {
                self.after_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.hold(bytes);
    }

    /// Takes it that nothing more comes.
    pub(crate) fn finish(mut self, on: &mut impl FnMut(&[u8], Data<'_>)) {
        self.end_line(on);
        self.dispatch(on);
    }

    fn hold(&mut self, part: &[u8]) {
        let most = if is_skimmed(&self.name) { SKIMMED_BYTES_MAX } else { DATA_BYTES_MAX };
        let room = most.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        self.line_is_cut |= part.len() > room;
    }

    fn end_line(&mut self, on: &mut impl FnMut(&[u8], Data<'_>)) {
        let mut line = std::mem::take(&mut self.line);
        let is_cut = std::mem::take(&mut self.line_is_cut);
        let has_mark = !std::mem::replace(&mut self.has_begun, true) && line.starts_with(b"\xEF\xBB\xBF");
        let text = &line[if has_mark { 3 } else { 0 }..];
        if text.is_empty() {
            self.dispatch(on);
        } else {
            self.field(text, is_cut);
        }
        line.clear();
        line.shrink_to(IDLE_BYTES_MAX);
        self.line = line;
    }

    fn field(&mut self, line: &[u8], is_cut: bool) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => self.name = value[..value.len().min(NAME_BYTES_MAX)].to_vec(),
            b"data" => self.add_data(value, is_cut),
            // Comments have no name; ids and times to reconnect are of no concern.
            _ => {}
        }
    }

    fn add_data(&mut self, value: &[u8], is_cut: bool) {
        let follows = self.data.is_some();
        let data = self.data.get_or_insert_default();
        self.data_is_cut |= is_cut || data.len() + value.len() >= DATA_BYTES_MAX;
        if !self.data_is_cut {
            data.extend_from_slice(if follows { b"\n" } else { b"" });
            data.extend_from_slice(value);
        }
    }

    fn dispatch(&mut self, on: &mut impl FnMut(&[u8], Data<'_>)) {
        let name = std::mem::take(&mut self.name);
        let is_cut = std::mem::take(&mut self.data_is_cut) || is_skimmed(&name);
        match self.data.take() {
            Some(_) if is_cut => on(&name, Data::Skimmed),
            Some(data) => on(&name, Data::Whole(&data)),
            // An event without data is none, by the standard.
            None => {}
        }
    }
}

/// Whether an event's name tells that its data is of no concern.
fn is_skimmed(name: &[u8]) -> bool {
    matches!(name, b"ping" | b"content_block_start" | b"content_block_delta" | b"content_block_stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(String, Option<String>)>;

    fn read(chunks: &[&[u8]]) -> Seen {
        let mut seen = Seen::new();
        let mut on = |name: &[u8], data: Data<'_>| {
            let data = match data {
                Data::Whole(data) => Some(String::from_utf8_lossy(data).into_owned()),
                Data::Skimmed => None,
            };
            seen.push((String::from_utf8_lossy(name).into_owned(), data));
        };
        let mut sse = Sse::default();
        chunks.iter().for_each(|chunk| sse.push(chunk, &mut on));
        sse.finish(&mut on);
        seen
    }

    fn event(name: &str, data: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), data.map(str::to_owned))
    }

    const TEXT: &str = ": comment\n\nevent: a\ndata: 1\ndata:2\nid: 7\nretry: 3\n\nevent:ping\ndata: {}\n\nevent: lonely\n\ndata\n\n:\ndata:  x\nevent: ä\n\n";

    fn expected() -> Seen {
        vec![event("a", Some("1\n2")), event("ping", None), event("", Some("")), event("ä", Some(" x"))]
    }

    #[test]
    fn any_line_ending_and_any_split_give_the_same_events() {
        for ending in ["\n", "\r\n", "\r"] {
            let text = TEXT.replace('\n', ending);
            let text = text.as_bytes();
            for at in 0..=text.len() {
                assert_eq!(read(&[&text[..at], &text[at..]]), expected(), "{ending:?} {at}");
            }
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read(&bytes), expected(), "{ending:?}");
            let with_gaps: Vec<&[u8]> = text.chunks(1).flat_map(|byte| [byte, b""]).collect();
            assert_eq!(read(&with_gaps), expected(), "{ending:?}");
            // The mark stands right before a line that would not be known with it.
            let marked =
                format!("\u{feff}{}", TEXT.trim_start_matches(": comment\n\n").replace('\n', ending));
            assert_eq!(read(&[&marked.as_bytes()[..2], &marked.as_bytes()[2..]]), expected(), "{ending:?}");
        }
    }

    #[test]
    fn what_a_stream_ends_in_the_middle_of_is_passed_on() {
        assert_eq!(read(&[b"event: a\ndata: {\"b\":"]), [event("a", Some("{\"b\":"))]);
        assert_eq!(read(&[b"data: 1\n"]), [event("", Some("1"))]);
        assert_eq!(read(&[b"event: a\nda"]), []);
    }

    #[test]
    fn of_a_gigantic_delta_next_to_nothing_is_held() {
        let mut seen = Vec::new();
        let mut on = |name: &[u8], data: Data<'_>| seen.push((name.to_vec(), data == Data::Skimmed));
        let mut sse = Sse::default();
        let megabyte = vec![b'x'; 1 << 20];
        for (name, most_bytes) in [("content_block_delta", 64), ("unknown", 256 << 10)] {
            sse.push(format!("event: {name}\ndata: ").as_bytes(), &mut on);
            for _ in 0..8 {
                sse.push(&megabyte, &mut on);
                assert!(sse.line.len() <= most_bytes);
            }
            sse.push(b"\ndata: more\n\n", &mut on);
            assert!(sse.line.capacity() <= IDLE_BYTES_MAX && sse.data.is_none());
        }
        let many = "data: 0123456789\n".repeat(DATA_BYTES_MAX / 8);
        sse.push(many.as_bytes(), &mut on);
        assert!(sse.data.as_ref().is_some_and(|data| data.len() <= DATA_BYTES_MAX));
        sse.push(b"\nevent: next\ndata: 1\n\n", &mut on);
        let names = ["content_block_delta", "unknown", "", "next"].map(|name| name.as_bytes().to_vec());
        assert_eq!(seen, names.into_iter().zip([true, true, true, false]).collect::<Vec<_>>());
    }
}
