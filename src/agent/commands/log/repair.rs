//! `log repair`: the plan, and with `--apply` what it says.
//!
//! What is done is the agent's own way with damage, for all of it at once: damaged bytes are kept in quarantine,
//! what they held is counted as lost, and the ends that only the index knows now are written down again. So the index
//! stays, whatever the books say.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use revenium_store::{Books, Damage, Held, Inspection, Options, Store, What};

use super::{RepairArgs, backup, verify};
use crate::cli::{self, ListenArgs};
use crate::commands::{LogPlace, count, print, ranges, run, status};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::undelivered;
use crate::user::Names;

/// For the index to follow the log, or to be made anew from all of it.
const READY_MAX: Duration = Duration::from_secs(3600);

/// For what damage took to be said again, which reads the log.
const RESTATED_MAX: Duration = Duration::from_secs(3600);

/// For notes to become durable and be followed.
const SETTLED_MAX: Duration = Duration::from_secs(60);

pub(super) fn repair(args: &RepairArgs) -> Result<Exit, Failure> {
    let place = LogPlace::of(&args.config)?;
    let log = &place.log;
    let cannot = "the log cannot be repaired";
    if !log.is_dir() {
        return Err(Failure::new(Exit::Usage, format!("there is no log in {}", log.display())));
    }
    refuse_others(log)?;
    let held = Held::of(log).or_exit(Exit::Usage, "stop the agent first")?;
    let found = Inspection::of_log(log).or_exit(Exit::Usage, cannot)?;
    let books = Books::of_log(log, None).or_exit(Exit::Usage, cannot)?;
    if found.segments == 0 {
        // Opened, it would begin anew, and nobody would miss them any more.
        let lost = count(found.records_damaged(), "event");
        let message =
            format!("no file is left of a log with {lost}: put the files back, nothing else can be done");
        return Err(Failure::new(Exit::Failure, message));
    }
    if books.balance() && !found.damage.iter().any(is_to_be_met) {
        let met = count(found.damage.len() as u64, "damaged place");
        let rest = match found.damage.len() {
            0 => "the log is whole".to_owned(),
            _ => format!("{met} met and counted before; the damage goes with its segment"),
        };
        print(&format!("nothing to repair: {rest}\n"))?;
        return Ok(Exit::Ok);
    }
    let to = backup::place(args, log);
    print(&(verify::table(&found.damage) + &plan(log, &to, &found, &books)))?;
    if !args.apply {
        print("\nnothing was changed; --apply does it\n")?;
        return Ok(Exit::Failure);
    }
    let failed = format!("the log cannot be copied to {}; nothing was changed", to.display());
    backup::make(log, &to).or_exit(Exit::Usage, failed)?;
    // Events may wait again: whoever removes the agent is to ask for them.
    undelivered::forget(&place.data_dir).or_exit(Exit::Usage, "the note of what is undelivered stays")?;
    drop(held);
    let flags = cli::flags(&args.config, &ListenArgs::default());
    // What is wrong with keys or addresses is nothing to the log.
    let (config, _) = Config::inspect(&flags, &place.around);
    let options = Options { dir: log.clone(), ..run::log_options(&config) };
    meet(options)?;
    let books = Books::of_log(log, None).or_exit(Exit::Usage, cannot)?;
    let lost: u64 = books.lanes.iter().map(|lane| lane.ledger.lost).sum();
    print(&format!("\nrepaired; since the log was made, {} lost to damage\n", count(lost, "event")))?;
    if !books.balance() {
        print("the books do NOT balance: see `revenium-agent reconcile`, and keep the backup\n")?;
        return Ok(Exit::Failure);
    }
    print("the books balance; start the agent\n")?;
    Ok(Exit::Ok)
}

/// Files that root makes in the log of another user keep that user's agent from starting.
fn refuse_others(log: &Path) -> Result<(), Failure> {
    let owner =
        fs::metadata(log).or_exit(Exit::Usage, format_args!("cannot look at {}", log.display()))?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let names = Names::read();
    let user = names.user_name(owner).map_or_else(|| format!("'#{owner}'"), str::to_owned);
    let message = format!(
        "the log belongs to {}, and is repaired by nobody else: run it as `sudo -u {user} revenium-agent log repair`",
        names.user(owner)
    );
    Err(Failure::new(Exit::Usage, message))
}

/// Whether there is something left to do about it.
fn is_to_be_met(damage: &Damage) -> bool {
    match damage.what {
        What::NoChunk | What::Bodies | What::Directory => !damage.is_kept,
        What::NoFile | What::NoWatermark => true,
        // Nothing is written over, so it stays; what is missing there the books say.
        What::Header | What::Break => false,
    }
}

fn plan(log: &Path, to: &Path, found: &Inspection, books: &Books) -> String {
    let new = found.damage.iter().filter(|damage| is_to_be_met(damage)).count() as u64;
    let size = backup::bytes(log).map_or_else(|_| "its size is not known".to_owned(), status::bytes);
    let mut text = "the plan:\n".to_owned();
    let _ = writeln!(text, "  1. copy the log ({size}) to {}", to.display());
    let _ = writeln!(text, "  2. keep the bytes of {} in the log's quarantine", count(new, "damaged place"));
    let missing: u64 = books.missing.iter().map(|(first, after)| after - first).sum();
    let which = if missing > 0 { format!(": {}", ranges(&books.missing)) } else { String::new() };
    let _ = writeln!(
        text,
        "  3. count what cannot be read and had not ended as lost; {missing} are known so far{which}"
    );
    let _ = writeln!(text, "  4. write down again how events ended of which only the index knows it then");
    text
}

/// Opens the log as the agent does, which notices some of the damage; the rest is looked for.
fn meet(options: Options) -> Result<(), Failure> {
    let store = Store::open(options).or_exit(Exit::Usage, "the log cannot be opened")?;
    let late =
        || Failure::new(Exit::Usage, "the index does not follow the log; look at the disk, then try again");
    if !store.wait_ready(READY_MAX) || !store.wait_settled(SETTLED_MAX) {
        return Err(late());
    }
    store.meet_damage().or_exit(Exit::Usage, "the log cannot be read")?;
    if !store.wait_restated(RESTATED_MAX) {
        let why = "the damage is counted, but not yet written down is how events ended of which only the index knows it: \
                   start the agent, which goes on with that";
        return Err(Failure::new(Exit::Usage, why));
    }
    if !store.wait_settled(SETTLED_MAX) {
        return Err(late());
    }
    store.close();
    Ok(())
}
