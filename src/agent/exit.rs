//! How the process ends: its exit codes, and the error that chose one.
//!
//! | code | meaning | what to do |
//! |---|---|---|
//! | 0 | did what was asked | |
//! | 1 | a command failed, `status`: degraded, `doctor`: a problem, `setup`: Revenium did not take the test event, `flush`: the deadline came first, `reconcile`: not every event is accounted for, `where`: it is not delivered, or not known, or `log`: the log is damaged | read the message |
//! | 2 | the command line is wrong, `setup` has no key, no agent answers `status`, `dlq`, `profile` or `flush`, or `reconcile`, `where` or `log` cannot do it | `--help`; start the agent, or stop it for `log repair` |
//! | 3 | `send`: no agent was reached, or it stopped answering | start the agent, or name its socket |
//! | 4 | `start`: there should be no agent of this user's here; its answer says why | nothing, or `REVENIUM_AGENT_AUTOSTART=1` |
//! | 70 | a bug in the agent | report it with the log |
//! | 74 | the disk or a socket failed | look at the disk, the path, its owner |
//! | 75 | for now: another agent holds the data directory or the address | try again later |
//! | 78 | the configuration is wrong | `revenium-agent check` |
//! | 126 | `exec`: the command cannot be run | its mode, its format |
//! | 127 | `exec`: there is no such command | its name, `PATH` |
//! | 130 | ended by Ctrl-C at a question, or by a second signal before it had stopped | acknowledged events are safe |

use std::fmt;
use std::process::ExitCode;

/// The exit codes; the module says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Did what was asked.
    Ok = 0,
    /// A command failed; `status`: the agent is degraded; `doctor`: there is a problem.
    Failure = 1,
    /// The command line is wrong, or no agent answers a command that asks one.
    Usage = 2,
    /// `start`: an agent should not be started here.
    NotStarted = 4,
    /// A bug in the agent.
    Bug = 70,
    /// The disk or a socket failed.
    Io = 74,
    /// Something is held by another process; later it may not be.
    Temporary = 75,
    /// The configuration is wrong.
    Config = 78,
    /// `exec`: the command cannot be run, as shells say it.
    NotRunnable = 126,
    /// `exec`: there is no such command, as shells say it.
    NotFound = 127,
    /// Ended by a second signal, before it had stopped.
    Interrupted = 130,
}

/// The rows of the table above: code, meaning, what to do.
pub(crate) fn table() -> impl Iterator<Item = [&'static str; 3]> {
    let rows = include_str!("exit.rs").lines().filter_map(|line| line.strip_prefix("//! |")).skip(2);
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim);
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    })
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code that it ends in.
#[derive(Debug)]
pub struct Failure {
    /// The code to exit with.
    pub exit: Exit,
    /// What to print, once, with its causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with a message of its own.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{message}") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Gives the error of a result its exit code and the sentence that an operator needs.
pub trait OrExit<T> {
    /// On error: `context`, then the cause, and `exit` as the code.
    fn or_exit(self, exit: Exit, context: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit, context: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into().context(context.to_string()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_prints_its_context_then_its_cause() {
        let result: Result<(), std::io::Error> = Err(std::io::Error::other("no such disk"));
        let failure = result.or_exit(Exit::Io, "cannot open /data").expect_err("is an error");
        assert_eq!(failure.to_string(), "cannot open /data: no such disk");
        assert_eq!(failure.exit as u8, 74);
    }

    #[test]
    fn the_table_is_read_row_by_row() {
        let rows: Vec<_> = table().collect();
        assert_eq!(rows[0], ["0", "did what was asked", ""]);
        assert_eq!(rows[5], ["70", "a bug in the agent", "report it with the log"]);
        assert_eq!(rows.last().map(|row| row[0]), Some("130"));
    }
}
