//! The spool folders: whether events can be left in them, and whether they are taken out.

use std::path::Path;
use std::time::Duration;

use revenium_emitter::place::SYSTEM_SPOOL;

use super::{Case, Finding, Id, clock};
use crate::commands::run::SPOOL_QUARANTINE;
use crate::spool::{Folder, FolderError, Listing, SYSTEM_MODE};

/// Files are taken in within seconds; one of this age is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Names of strange entries that are told.
const TOLD_MAX: usize = 3;

pub(super) fn look(case: &Case) -> Vec<Finding> {
    let dirs = case.config.spool.dirs.iter();
    let mut findings: Vec<Finding> = dirs.map(|dir| of_folder(dir, case)).collect();
    findings.extend(of_quarantine(&case.config.data_dir.join(SPOOL_QUARANTINE)));
    findings
}

fn of_folder(dir: &Path, case: &Case) -> Finding {
    let shown = dir.display().to_string();
    let is_machines = dir == Path::new(SYSTEM_SPOOL);
    let looked = Folder::open_for(dir, case.owner.uid).and_then(|folder| {
        let listing = folder.list()?;
        Ok((folder, listing))
    });
    let (folder, listing) = match looked {
        Ok(looked) => looked,
        Err(FolderError::Missing(_)) if is_machines => {
            let next = "`systemd-tmpfiles --create revenium-agent.conf` as root";
            return Finding::warning(Id::Spool, shown, "it is not there: senders keep no spool files", next);
        }
        Err(FolderError::Missing(_)) => {
            return Finding::ok(Id::Spool, shown, "it is not there yet; whoever needs it makes it");
        }
        Err(error @ FolderError::Foreign { .. }) => {
            let next = format!("`chown {} {shown}` as root", case.owner.name());
            return Finding::problem(Id::Spool, shown, error.to_string(), next);
        }
        Err(error @ FolderError::Open { .. }) => {
            return Finding::problem(Id::Spool, &shown, error.to_string(), format!("`chmod +t {shown}`"));
        }
        Err(error) if case.owner.may_look() => {
            let next = format!("see that it is a folder of {}: `ls -ld {shown}`", case.owner.user());
            return Finding::problem(Id::Spool, shown, error.to_string(), next);
        }
        Err(error) => return Finding::unknown(Id::Spool, shown, error.to_string(), case.owner.look_as()),
    };
    if is_machines && folder.mode() != SYSTEM_MODE {
        let cause =
            format!("its mode is {:04o}, not {SYSTEM_MODE:04o}: members cannot use it", folder.mode());
        return Finding::problem(Id::Spool, &shown, cause, format!("`chmod {SYSTEM_MODE:o} {shown}`"));
    }
    judge(shown, &listing, clock::now_s(), case.standing.is_running())
}

/// What lies in a folder that can be used.
fn judge(shown: String, listing: &Listing, now_s: u64, is_running: bool) -> Finding {
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    let oldest_s = listing.files.iter().map(|file| now_s.saturating_sub(file.modified_s)).max();
    if !listing.strange.is_empty() {
        let told = listing.strange.iter().take(TOLD_MAX).map(|(name, why)| format!("{name}: {why}"));
        let told: Vec<String> = told.collect();
        let cause = format!("{} entries are left alone: {}", listing.strange_count, told.join("; "));
        let next = "if they hold events: `revenium-agent send --spool DIR` as their owner; else remove them";
        return Finding::warning(Id::Spool, shown, cause, next);
    }
    match oldest_s {
        None => Finding::ok(Id::Spool, shown, "nothing waits in it"),
        Some(_) if !is_running => {
            let cause = format!("{} files wait for an agent", listing.files.len());
            Finding::warning(Id::Spool, shown, cause, "start the agent: it takes them in within seconds")
        }
        Some(oldest_s) if oldest_s > i64::try_from(STUCK_AFTER.as_secs()).unwrap_or(i64::MAX) => {
            let cause = format!("{} files wait, the oldest for {oldest_s} s", listing.files.len());
            let next =
                "`revenium-agent status` says why; `journalctl -u revenium-agent -p warning | grep spool`";
            Finding::warning(Id::Spool, shown, cause, next)
        }
        Some(_) => Finding::ok(Id::Spool, shown, format!("{} files are being taken in", listing.files.len())),
    }
}

/// Lines that were no events, if any are kept.
fn of_quarantine(dir: &Path) -> Option<Finding> {
    let count = std::fs::read_dir(dir).ok()?.take(10_000).count();
    let next = "mend what is an event and send it with `revenium-agent send -`; then remove the files";
    let cause = format!("{count} files of bad lines are kept");
    (count > 0).then(|| Finding::warning(Id::Spool, dir.display().to_string(), cause, next))
}
