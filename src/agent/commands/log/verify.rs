//! `log verify`.

use std::fmt::Write;

use revenium_store::{Damage, Inspection, What};
use serde::Serialize;

use super::VerifyArgs;
use crate::commands::{LogPlace, count, print, ranges, status};
use crate::exit::{Exit, Failure, OrExit};

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let place = LogPlace::of(&args.config)?;
    let found = Inspection::of_log(&place.log).or_exit(Exit::Usage, "the log cannot be verified")?;
    if args.json {
        let json = serde_json::to_string(&Report::of(&found));
        print(&(json.or_exit(Exit::Bug, "the result cannot be written as JSON")? + "\n"))?;
    } else {
        print(&(table(&found.damage) + &summary(&found)))?;
    }
    Ok(if found.damage.is_empty() { Exit::Ok } else { Exit::Failure })
}

/// What was found, for scripts.
#[derive(Debug, Serialize)]
struct Report {
    is_whole: bool,
    segments: u64,
    chunks: u64,
    records: u64,
    bytes: u64,
    damage: Vec<Place>,
}

#[derive(Debug, Serialize)]
struct Place {
    what: &'static str,
    segment: u64,
    from: u64,
    to: u64,
    /// (first, first after).
    records: Vec<(u64, u64)>,
    is_kept: bool,
}

impl Report {
    fn of(found: &Inspection) -> Self {
        let place = |damage: &Damage| Place {
            what: words(damage.what).0,
            segment: damage.segment,
            from: damage.bytes.0,
            to: damage.bytes.1,
            records: damage.records.clone(),
            is_kept: damage.is_kept,
        };
        Self {
            is_whole: found.damage.is_empty(),
            segments: found.segments,
            chunks: found.chunks,
            records: found.records,
            bytes: found.bytes,
            damage: found.damage.iter().map(place).collect(),
        }
    }
}

/// The name for scripts, and what it is for people.
fn words(what: What) -> (&'static str, &'static str) {
    match what {
        What::Header => ("header", "the header is damaged; its chunks can be read"),
        What::NoChunk => ("no-chunk", "bytes that are no chunk"),
        What::Bodies => ("bodies", "events whose bytes are damaged"),
        What::Directory => ("directory", "a directory that cannot be read"),
        What::NoFile => ("no-file", "the file is not there"),
        What::Break => ("break", "what was written here is not there"),
        What::NoWatermark => ("no-watermark", "the watermark's file says nothing"),
    }
}

/// A row for each damaged place; nothing if there is none.
pub(super) fn table(damage: &[Damage]) -> String {
    if damage.is_empty() {
        return String::new();
    }
    let mut text = format!("{:>8}  {:>10}  {:>10}  {:<46}  met  events\n", "segment", "from", "to", "what");
    for one in damage {
        let is_placed = one.bytes != (0, 0);
        let place = |at: u64| if is_placed { at.to_string() } else { "-".to_owned() };
        let met = if one.is_kept { "yes" } else { "no" };
        let events = if one.records.is_empty() { "-".to_owned() } else { ranges(&one.records) };
        let (from, to) = (place(one.bytes.0), place(one.bytes.1));
        let (segment, what) = (one.segment, words(one.what).1);
        let _ = writeln!(text, "{segment:>8}  {from:>10}  {to:>10}  {what:<46}  {met:<3}  {events}");
    }
    text.push('\n');
    text
}

fn summary(found: &Inspection) -> String {
    let Inspection { segments, chunks, records, bytes, damage } = found;
    let read = format!(
        "{}, {} and {} read, {}",
        count(*segments, "segment"),
        count(*chunks, "chunk"),
        count(*records, "event"),
        status::bytes(*bytes)
    );
    if damage.is_empty() {
        return format!("whole: {read}\n");
    }
    let events = match found.records_damaged() {
        0 => "no event is known to have lain there".to_owned(),
        n => format!("{} lay there, delivered or not", count(n, "event")),
    };
    format!(
        "DAMAGED: {}; {events}; {read}\n\
         `revenium-agent reconcile` says whether any is missing, `revenium-agent log repair` what can be done\n",
        count(damage.len() as u64, "place"),
    )
}
