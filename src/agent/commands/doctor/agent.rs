//! Whether an agent runs on the data directory, and what it says of itself.

use std::io;
use std::path::Path;

use super::socket::is_anybody_accepting;
use super::{Case, Finding, Id};
use crate::admin::{self, Health, Status};

/// What came of asking it.
pub(super) enum Standing {
    /// It told how it does.
    Runs(Box<Status>),
    /// Somebody is there, and did not answer as an agent of this version does.
    Silent(String),
    /// This user may not ask.
    Denied,
    /// Nobody is there.
    Absent,
}

impl Standing {
    /// Whether an agent is known to run.
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Runs(_))
    }
}

/// Asks it.
pub(super) fn ask(data_dir: &Path) -> Standing {
    match admin::ask(data_dir, "/status") {
        Ok(json) => match serde_json::from_str(&json) {
            Ok(status) => Standing::Runs(Box::new(status)),
            Err(error) => Standing::Silent(format!("its status cannot be read: {error}")),
        },
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                Standing::Absent
            }
            // Its socket has the name that it was bound under, before it was put into place.
            io::ErrorKind::PermissionDenied
                if !is_anybody_accepting(|path| path.parent() == Some(data_dir)) =>
            {
                Standing::Absent
            }
            io::ErrorKind::PermissionDenied => Standing::Denied,
            _ => Standing::Silent(error.to_string()),
        },
    }
}

pub(super) fn look(case: &Case) -> Vec<Finding> {
    let dir = case.config.data_dir.display().to_string();
    vec![match &case.standing {
        Standing::Runs(status) => judge(status, &dir),
        Standing::Silent(error) => Finding::problem(
            Id::Agent,
            dir,
            format!("it does not say how it does: {error}"),
            format!("is it of this version? `{} restart revenium-agent` loses nothing", case.systemctl()),
        ),
        Standing::Denied => {
            Finding::unknown(Id::Agent, dir, "this user may not ask it", case.owner.look_as())
        }
        Standing::Absent => Finding::warning(
            Id::Agent,
            dir,
            "no agent runs on this data directory",
            format!(
                "`{} start revenium-agent`, or `revenium-agent run`; another directory is named with --data-dir \
                 or --config",
                case.systemctl()
            ),
        ),
    }]
}

/// What a status means. What a flush is worth is a finding of its own.
fn judge(status: &Status, dir: &str) -> Finding {
    let mut status = status.clone();
    status.guarantee.flushed = true;
    let (health, reasons) = admin::judge(&status);
    let next = "`revenium-agent status`, and the runbook (ops/runbook.md) on what it names";
    match health {
        Health::Ok => {
            Finding::ok(Id::Agent, dir, format!("version {}, up {} s", status.version, status.uptime_s))
        }
        Health::Degraded => Finding::warning(Id::Agent, dir, reasons.join("; "), next),
        Health::Failing => Finding::problem(Id::Agent, dir, reasons.join("; "), next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    #[test]
    fn what_the_agent_says_is_as_bad_as_it_says_but_for_the_disk_it_is_on() {
        let level = |spoil: fn(&mut Status)| {
            let mut status = crate::admin::tests::healthy();
            spoil(&mut status);
            judge(&status, "/d").level
        };
        assert_eq!(level(|_| {}), Level::Ok);
        assert_eq!(level(|status| status.guarantee.flushed = false), Level::Ok);
        assert_eq!(level(|status| status.disk_errors = 1), Level::Warning);
        assert_eq!(level(|status| status.imbalance = 1), Level::Problem);
    }
}
