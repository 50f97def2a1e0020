//! `dlq retry` and `dlq discard`: page by page, with what failed named, how far it is, and a count at the end.

use std::io::{self, BufRead, IsTerminal};

use serde::Serialize;

use super::shown::Shown;
use super::{Agent, DiscardArgs, RetryArgs, check_which, letters, pages};
use crate::commands::{plain, print};
use crate::desk::{Done, Filter, LettersRequest, Page};
use crate::exit::{Exit, Failure, OrExit};
use crate::progress::line;

pub(super) fn retry(args: &RetryArgs) -> Result<Exit, Failure> {
    check_which(&args.filter, args.all)?;
    let agent = Agent::of(&args.config)?;
    let new_transaction_id = args.new_transaction_id;
    let total = many("retrying", &agent, &args.filter.filter(), |filter, after, upto| {
        LettersRequest::Retry { filter, after, upto, new_transaction_id }
    })?;
    finish(&total, "retried", args.json)
}

pub(super) fn discard(args: &DiscardArgs) -> Result<Exit, Failure> {
    check_which(&args.filter, args.all)?;
    let agent = Agent::of(&args.config)?;
    let filter = args.filter.filter();
    if !args.yes && !confirm(&agent, &filter)? {
        eprintln!("nothing was discarded");
        return Ok(Exit::Failure);
    }
    let total = many("discarding", &agent, &filter, |filter, after, upto| LettersRequest::Discard {
        filter,
        after,
        upto,
    })?;
    finish(&total, "discarded", args.json)
}

/// What was done in all.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Total {
    done: u64,
    left_out: u64,
    failed: u64,
}

/// Asks for page after page, and names what failed as it comes.
fn many(
    doing: &'static str,
    agent: &Agent,
    filter: &Filter,
    request: impl Fn(Filter, u64, Option<u64>) -> LettersRequest,
) -> Result<Total, Failure> {
    let mut total = Total::default();
    let mut shown = Shown::new(doing, agent, filter)?;
    let mut upto = None;
    pages(filter, |part, after| {
        let done: Done = agent.ask(&request(part.clone(), after, upto))?;
        upto = Some(done.upto);
        total.done += done.done;
        total.left_out += done.left_out;
        total.failed += done.failed.len() as u64;
        for warned in &done.warnings {
            line::say(&format!("letter {}: {}", warned.seq, warned.warning));
        }
        for failed in &done.failed {
            line::say(&format!("letter {}: {}", failed.seq, plain(&failed.error.to_string())));
        }
        shown.add(done.done + done.left_out + done.failed.len() as u64);
        Ok(done.next)
    })?;
    Ok(total)
}

fn finish(total: &Total, word: &str, json: bool) -> Result<Exit, Failure> {
    let Total { done, left_out, failed } = total;
    if json {
        let json = serde_json::to_string(total).or_exit(Exit::Bug, "the result cannot be written as JSON")?;
        print(&(json + "\n"))?;
    } else {
        let mut text = format!("{word}: {}", letters(*done));
        if *left_out > 0 {
            text += &format!("; left out as probably delivered: {left_out} (retry these by their numbers)");
        }
        if *failed > 0 {
            text += &format!("; failed: {failed}");
        }
        print(&(text + "\n"))?;
    }
    Ok(if *failed == 0 { Exit::Ok } else { Exit::Failure })
}

/// Asks a person at a terminal; from anybody else it wants `--yes`.
fn confirm(agent: &Agent, filter: &Filter) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let message = "discarding is for good: say --yes, since nobody can be asked here";
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut count = 0;
    pages(filter, |filter, after| {
        let request = LettersRequest::List { filter: filter.clone(), after, max: usize::MAX };
        let page: Page = agent.ask(&request)?;
        count += page.letters.len() as u64;
        Ok(page.next)
    })?;
    eprint!("discard {} for good? [y/N] ", letters(count));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).or_exit(Exit::Io, "cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
