//! `dlq export`.

use std::io::{self, IsTerminal, Write};

use super::shown::Shown;
use super::{Agent, ExportArgs, letters, pages, tell};
use crate::commands::{create_private, print};
use crate::desk::{LettersRequest, Page};
use crate::exit::{Exit, Failure, OrExit};

pub(super) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let agent = Agent::of(&args.config)?;
    let Some(path) = &args.output else {
        let count = each_line(&agent, args, print)?;
        eprintln!("exported: {} with all that is in their events, credentials included", letters(count));
        return Ok(Exit::Ok);
    };
    let mut file = create_private(path)?;
    let cannot = format!("cannot write {}", path.display());
    let written =
        each_line(&agent, args, |lines| file.write_all(lines.as_bytes()).or_exit(Exit::Io, &cannot))
            .and_then(|count| file.sync_all().or_exit(Exit::Io, &cannot).map(|()| count));
    // Half a file would pass for all of it.
    let count = written.inspect_err(|_| drop(std::fs::remove_file(path)))?;
    let path = path.display();
    eprintln!(
        "exported: {} with all that is in their events, credentials included, to {path}",
        letters(count)
    );
    Ok(Exit::Ok)
}

fn each_line(
    agent: &Agent,
    args: &ExportArgs,
    mut write: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    // Letters that go to the terminal themselves leave no room for a bar.
    let is_apart = args.output.is_some() || !io::stdout().is_terminal();
    let shown = is_apart.then(|| Shown::new("exporting", agent, &args.filter.filter()));
    let (mut shown, mut count) = (shown.transpose()?, 0);
    pages(&args.filter.filter(), |filter, after| {
        let page: Page = agent.ask(&LettersRequest::Export { filter: filter.clone(), after })?;
        let mut lines = String::new();
        for letter in &page.letters {
            lines.push_str(&(tell::line(letter)? + "\n"));
        }
        count += page.letters.len() as u64;
        write(&lines)?;
        if let Some(shown) = &mut shown {
            shown.add(page.letters.len() as u64);
        }
        Ok(page.next)
    })?;
    Ok(count)
}
