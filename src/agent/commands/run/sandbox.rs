//! What `--sandbox` needs before the configuration is read: a data directory that goes with the
//! process, and the stand-in for Revenium, bound but not yet serving.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::config::SandboxFlags;
use crate::exit::{Exit, Failure, OrExit};
use crate::sandbox::{OnReceived, Options, SANDBOX_KEY, Sandbox, Server};
use crate::secret::Secret;
use crate::tasks::{Stage, Tasks};

/// A stand-in that listens, and a folder.
pub(super) struct Prepared {
    dir: TempDir,
    stand_in: StandIn,
}

/// The stand-in, to be served.
pub(super) struct StandIn {
    sandbox: Sandbox,
    server: Server,
}

impl Prepared {
    pub(super) async fn new() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("revenium-sandbox-")
            .tempdir()
            .or_exit(Exit::Io, "cannot make a folder for the sandbox")?;
        let options = Options {
            on_received: Some(OnReceived::new(|received| say(&received.line()))),
            ..Options::default()
        };
        let bound = Sandbox::bind(options).await;
        let (sandbox, server) = bound.or_exit(Exit::Io, "cannot start the sandbox")?;
        Ok(Self { dir, stand_in: StandIn { sandbox, server } })
    }

    /// Points every profile here.
    pub(super) fn flags(&self) -> SandboxFlags {
        SandboxFlags {
            data_dir: self.dir.path().to_owned(),
            url: self.stand_in.sandbox.url(),
            key: Secret::new(SANDBOX_KEY),
        }
    }

    /// The stand-in, and the folder to keep until the end.
    pub(super) fn into_parts(self) -> (StandIn, TempDir) {
        (self.stand_in, self.dir)
    }
}

impl StandIn {
    /// Serves it until the log has stopped: it outlives the drain.
    pub(super) fn serve(self, tasks: &mut Tasks) {
        let Self { sandbox, server } = self;
        tasks.spawn(Stage::Store, "sandbox", |mut stop| async move {
            let ended = async {
                stop.requested().await;
                sandbox.stop();
            };
            tokio::join!(server.run(), ended);
            Ok(())
        });
    }
}

/// Tells a person how to try it.
pub(super) fn welcome(socket: &Path, relay: Option<SocketAddr>, gateway: Option<SocketAddr>) {
    say(&format!(
        "Nothing leaves this machine: events go to a stand-in for Revenium, and are shown here. Try:\n  \
         revenium-agent send --socket {} --model claude-sonnet-4 --provider Anthropic \
         --input-tokens 25 --output-tokens 15",
        socket.display()
    ));
    if let Some(relay) = relay {
        say(&format!(
            "Or one of Revenium's SDKs, with REVENIUM_METERING_BASE_URL=http://{relay} \
             REVENIUM_METERING_API_KEY={SANDBOX_KEY}"
        ));
    }
    if let Some(gateway) = gateway {
        say(&format!("Or Claude, with ANTHROPIC_BASE_URL=http://{gateway} and your own key"));
    }
}

/// Prints a line; a terminal that was closed doesn't stop the sandbox.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
