//! The parts that move events, in the order they start: log, stand-in, drain, intake.
//!
//! The shell is up when [`start`] is called: `/readyz` answers 503 and names what isn't ready yet,
//! until each part has said so on the board. An error here ends the process with its exit code.

use std::path::PathBuf;

use tokio::net::TcpListener;

use super::Shell;
use crate::exit::Failure;
use crate::tasks::Tasks;

/// What must report `ready` on the board before `/readyz` answers 200.
pub(super) const NAMES: [&str; 3] = ["log", "index", "socket"];

/// The ways in that were opened.
pub(super) struct Ways {
    /// The Unix socket.
    pub(super) socket: Option<PathBuf>,
}

/// Starts every part.
pub(super) async fn start(
    _shell: &Shell,
    _sandbox: Option<TcpListener>,
    _tasks: &mut Tasks,
) -> Result<Ways, Failure> {
    // Place 1, the log. Open the store on `shell.config.data_dir` with `shell.config.store`, on a
    // blocking thread; while it opens, `shell.board.starting("index", "…")`. Held by another agent:
    // `Exit::Temporary`; the disk: `Exit::Io`. Then `shell.board.attach_queue(move || queue.stats())`
    // and `shell.board.ready("log")`, `ready("index")`. Its last flush is a task of `Stage::Store`.

    // Place 2, the stand-in. With `sandbox`, serve it as a task of `Stage::Store` (it must outlive the
    // drain); its key is `hak_sandbox`.

    // Place 3, the drain. `shell.keys[profile]` follows each key, `keys::translate` turns it into the
    // drain's own form; `shell.board.attach_drain(…)`;
    // `Stage::Drain`, whose deadline is `shell.config.drain.stop_deadline`.

    // Place 4, intake. Bind `shell.config.socket`, `Stage::Intake`, `shell.board.ready("socket")`; each
    // append is made under `shell.board.pulse().begin()`.
    Ok(Ways { socket: None })
}
