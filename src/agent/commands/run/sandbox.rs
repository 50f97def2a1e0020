//! What `--sandbox` needs before the configuration is read: a data directory that goes with the
//! process, and the address of the stand-in.

use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::config::SandboxFlags;
use crate::exit::{Exit, Failure, OrExit};
use crate::secret::Secret;

/// The key that the stand-in takes. It opens nothing.
const KEY: &str = "hak_sandbox";

/// A bound address and a folder.
pub(super) struct Prepared {
    dir: TempDir,
    listener: TcpListener,
    url: String,
}

impl Prepared {
    pub(super) async fn new() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("revenium-sandbox-")
            .tempdir()
            .or_exit(Exit::Io, "cannot make a folder for the sandbox")?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.or_exit(Exit::Io, "cannot listen for the sandbox")?;
        let address = listener.local_addr().or_exit(Exit::Io, "cannot listen for the sandbox")?;
        Ok(Self { dir, listener, url: format!("http://{address}") })
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
