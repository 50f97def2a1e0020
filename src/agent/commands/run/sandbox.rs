//! What `--sandbox` needs before the configuration is read: a data directory that goes with the
//! process, and the address of the stand-in.

use std::net::TcpListener;

use tempfile::TempDir;

use crate::config::SandboxFlags;
use crate::exit::{Exit, Failure, OrExit};
use crate::secret::Secret;

/// The key that the stand-in takes. It opens nothing.
const KEY: &str = "rev_mk_sandbox";

/// A bound address and a folder.
pub(super) struct Prepared {
    dir: TempDir,
    listener: TcpListener,
    url: String,
}

impl Prepared {
    pub(super) fn new() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("revenium-sandbox-")
            .tempdir()
            .or_exit(Exit::Io, "cannot make a folder for the sandbox")?;
        let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let url = format!("http://{}", listener.local_addr()?);
            Ok((listener, url))
        });
        let (listener, url) = bound.or_exit(Exit::Io, "cannot listen for the sandbox")?;
        Ok(Self { dir, listener, url })
    }

    /// Points every profile here.
    pub(super) fn flags(&self) -> SandboxFlags {
        SandboxFlags { data_dir: self.dir.path().to_owned(), url: self.url.clone(), key: Secret::new(KEY) }
    }

    /// The listener for the stand-in, and the folder to keep until the end.
    pub(super) fn into_parts(self) -> (TcpListener, TempDir) {
        (self.listener, self.dir)
    }
}
