//! LiteLLM as a proxy for Anthropic's API, which meters as well: a peer of the gateway, in Python.
//!
//! Too large to be installed for this alone: `python3 -m venv target/tools/litellm`, then its
//! `bin/pip install 'litellm[proxy]'`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::until;

/// Where it may be, besides the search path.
const PLACE: &str = "target/tools/litellm/bin";

/// One of its processes; ended with this value.
pub(crate) struct Litellm {
    child: Child,
    pub(crate) address: String,
}

impl Litellm {
    /// Before this provider, for callers with this key, with its files in `dir`; `None` where it is not installed.
    pub(crate) fn start(dir: &Path, provider: &str, key: &str) -> Option<Self> {
        let program = find()?;
        // It cannot say which port it got: it is given one that was free just now.
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = listener.local_addr().expect("has an address");
        drop(listener);
        fs::write(dir.join("litellm.yaml"), configuration(provider, key)).expect("written");
        let mut command = Command::new(program);
        command.args(["--config", "litellm.yaml", "--host", "127.0.0.1", "--port"]);
        // Else it asks the network for prices.
        command.arg(address.port().to_string()).env("LITELLM_LOCAL_MODEL_COST_MAP", "True").current_dir(dir);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let litellm = Self { child, address: address.to_string() };
        until("LiteLLM listens", || TcpStream::connect(&litellm.address).is_ok(), |listens| *listens);
        Some(litellm)
    }
}

impl Drop for Litellm {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from(PLACE)]);
    let program = places.map(|place| place.join("litellm")).find(|program| program.is_file())?;
    // It is run in another folder.
    program.canonicalize().ok()
}

fn configuration(provider: &str, key: &str) -> String {
    format!(
        "model_list:
  - model_name: claude-opus-4
    litellm_params: {{model: anthropic/claude-opus-4, api_base: \"http://{provider}\", api_key: {key}}}
general_settings: {{master_key: {key}}}
"
    )
}
