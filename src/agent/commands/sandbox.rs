//! `sandbox`: the stand-in for Revenium as a process of its own, for tests and benchmarks.

use crate::exit::{Exit, Failure, OrExit};
use crate::sandbox::{self, Args};

/// Serves until a signal, or the end of standard input if `args` say so.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_exit(Exit::Io, "cannot start the runtime")?;
    runtime.block_on(sandbox::serve_cli(args)).or_exit(Exit::Failure, "the sandbox failed")?;
    Ok(Exit::Ok)
}
