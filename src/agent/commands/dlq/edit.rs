//! `dlq edit`: one event, changed by a person.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;

use revenium_event::laid_out;
use revenium_event::limits::LINE_BYTES_MAX;
use tempfile::NamedTempFile;

use super::{Agent, EditArgs};
use crate::commands::print;
use crate::desk::{Done, LettersRequest, Page};
use crate::exit::{Exit, Failure, OrExit};

pub(super) fn edit(args: &EditArgs) -> Result<Exit, Failure> {
    let agent = Agent::of(&args.config)?;
    match &args.file {
        Some(path) => send(&agent, args, read_given(path)?),
        None => edit_by_hand(&agent, args),
    }
}

fn send(agent: &Agent, args: &EditArgs, body: String) -> Result<Exit, Failure> {
    let (seq, new_transaction_id) = (args.seq, args.new_transaction_id);
    let done: Done = agent
        .ask(&LettersRequest::Edit { seq, body, new_transaction_id })
        .map_err(|failure| Failure { error: failure.error.context("nothing was changed"), ..failure })?;
    for warned in &done.warnings {
        eprintln!("letter {seq}: {}", warned.warning);
    }
    print("retried: 1 letter, as it was edited\n")?;
    Ok(Exit::Ok)
}

fn edit_by_hand(agent: &Agent, args: &EditArgs) -> Result<Exit, Failure> {
    let page: Page = agent.ask(&LettersRequest::Show { seq: args.seq, reveal: true })?;
    let body = page.letters.into_iter().next().and_then(|letter| letter.body).unwrap_or_default();
    let before = laid_out(&body);
    let cannot = "cannot write a temporary file to edit";
    // Made with mode 0600: it holds all that is in the event.
    let mut file = tempfile::Builder::new()
        .prefix("revenium-dlq-")
        .suffix(".json")
        .tempfile()
        .or_exit(Exit::Io, cannot)?;
    file.write_all(before.as_bytes()).or_exit(Exit::Io, cannot)?;
    open_editor(file.path())?;
    let after = read(File::open(file.path()).or_exit(Exit::Io, "cannot read what was edited")?)?;
    if after == before {
        return Err(Failure::new(Exit::Failure, "the event is unchanged, so nothing was done"));
    }
    send(agent, args, after).map_err(|failure| kept(file, failure))
}

/// What was typed is not lost with the error.
fn kept(file: NamedTempFile, failure: Failure) -> Failure {
    match file.keep() {
        Ok((_, path)) => {
            let hint = format!("your text is kept in {}, for --file", path.display());
            Failure { error: failure.error.context(hint), ..failure }
        }
        Err(_) => failure,
    }
}

fn open_editor(path: &Path) -> Result<(), Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let Some(editor) = set("VISUAL").or_else(|| set("EDITOR")) else {
        let message = "neither VISUAL nor EDITOR names an editor; set one, or give the event with --file";
        return Err(Failure::new(Exit::Usage, message));
    };
    // By way of the shell, since the variables may hold arguments.
    let mut script = editor;
    script.push(" \"$1\"");
    let ended = Command::new("sh").arg("-c").arg(script).arg("sh").arg(path).status();
    let ended = ended.or_exit(Exit::Io, "cannot start the editor")?;
    if ended.success() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, format!("the editor ended with {ended}, so nothing was done")))
}

fn read_given(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return read(io::stdin().lock());
    }
    read(File::open(path).or_exit(Exit::Usage, format_args!("cannot open {}", path.display()))?)
}

/// Reads a text of at most twice an event's length: white space does not count.
fn read(from: impl Read) -> Result<String, Failure> {
    let bytes_max = 2 * LINE_BYTES_MAX;
    let mut text = String::new();
    let read = from.take(bytes_max as u64 + 1).read_to_string(&mut text);
    read.or_exit(Exit::Usage, "cannot read the event")?;
    if text.len() > bytes_max {
        return Err(Failure::new(Exit::Usage, format!("the event has more than {bytes_max} bytes")));
    }
    Ok(text)
}
