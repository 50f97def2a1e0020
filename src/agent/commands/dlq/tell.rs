//! `dlq list` and `dlq show`.

use std::fmt::Write;

use revenium_event::laid_out;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Agent, ListArgs, ShowArgs, pages};
use crate::commands::{as_object, plain, print, time};
use crate::desk::{Letter, LettersRequest, Page};
use crate::exit::{Exit, Failure, OrExit};

/// Characters of the server's words in a list.
const WORDS_CHARS_MAX: usize = 100;

pub(super) fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let agent = Agent::of(&args.config)?;
    let mut left = if args.all { usize::MAX } else { args.limit };
    let (mut is_first, mut last, mut has_more) = (true, 0, false);
    pages(&args.filter.filter(), |filter, after| {
        if left == 0 {
            return Ok(None);
        }
        let after = after.max(args.after);
        let request = LettersRequest::List { filter: filter.clone(), after, max: left };
        let page: Page = agent.ask(&request)?;
        left -= page.letters.len().min(left);
        last = page.letters.last().map_or(last, |letter| letter.seq);
        has_more = page.next.is_some() && left == 0;
        let mut text = String::new();
        if is_first && !args.json && !page.letters.is_empty() {
            text.push_str("     seq  died                  profile     kind        reason; words\n");
            is_first = false;
        }
        for letter in &page.letters {
            if args.json {
                text.push_str(&(line(letter)? + "\n"));
            } else {
                row(letter, &mut text);
            }
        }
        print(&text)?;
        Ok(page.next.filter(|_| left > 0))
    })?;
    if has_more {
        eprintln!("there may be more: --after {last}, or --all");
    } else if last == 0 && !args.json {
        eprintln!("there are no dead letters that fit");
    }
    Ok(Exit::Ok)
}

fn row(letter: &Letter, text: &mut String) {
    let words: String = letter.words.chars().take(WORDS_CHARS_MAX).collect();
    let _ = writeln!(
        text,
        "{:>8}  {:<20}  {:<10}  {:<10}  {}: {}",
        letter.seq,
        time(letter.died_at_ms),
        plain(&letter.profile),
        letter.kind,
        reason(letter),
        plain(&words),
    );
}

pub(super) fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let agent = Agent::of(&args.config)?;
    let request = LettersRequest::Show { seq: args.seq, reveal: args.reveal };
    let page: Page = agent.ask(&request)?;
    for letter in &page.letters {
        print(&if args.json { line(letter)? + "\n" } else { screen(letter) })?;
    }
    Ok(Exit::Ok)
}

fn screen(letter: &Letter) -> String {
    let mut text = format!("dead letter {}\n", letter.seq);
    for (name, value) in [
        ("profile", letter.profile.clone()),
        ("kind", letter.kind.clone()),
        ("reason", reason(letter)),
        ("words", letter.words.clone()),
        ("key", letter.key.clone()),
        ("received", time(letter.received_at_ms)),
        ("died", time(letter.died_at_ms)),
        ("event", format!("{} bytes", letter.bytes)),
    ] {
        let _ = writeln!(text, "{name:<10}{}", plain(&value));
    }
    for body_line in laid_out(letter.body.as_deref().unwrap_or_default()).lines() {
        text.push_str(&(plain(body_line) + "\n"));
    }
    text
}

fn reason(letter: &Letter) -> String {
    let status = if letter.status == 0 { String::new() } else { format!(" ({})", letter.status) };
    let doubt = if letter.probably_delivered { ", probably delivered" } else { "" };
    format!("{}{status}{doubt}", letter.reason)
}

/// A letter as a line of JSON: times as text, the body, if there is one, as the object that it is.
pub(super) fn line(letter: &Letter) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Line<'a> {
        seq: u64,
        profile: &'a str,
        kind: &'a str,
        reason: &'a str,
        status: u16,
        words: &'a str,
        probably_delivered: bool,
        key: &'a str,
        received_at: String,
        died_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Box<RawValue>>,
    }
    let body = letter.body.as_deref().map(as_object);
    let line = Line {
        seq: letter.seq,
        profile: &letter.profile,
        kind: &letter.kind,
        reason: &letter.reason,
        status: letter.status,
        words: &letter.words,
        probably_delivered: letter.probably_delivered,
        key: &letter.key,
        received_at: time(letter.received_at_ms),
        died_at: time(letter.died_at_ms),
        body: body.transpose().or_exit(Exit::Bug, "a letter cannot be written as JSON")?,
    };
    serde_json::to_string(&line).or_exit(Exit::Bug, "a letter cannot be written as JSON")
}
