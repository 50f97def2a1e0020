//! What every example needs: an agent with a gateway, what stands in for the two services, and tools.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::provider::{self, Got, Provider, STREAM, chunk, delta, message_end, message_start};
use crate::support::{Agent, Home, Sandbox};

pub(crate) struct Stage {
    pub(crate) home: Home,
    pub(crate) provider: Provider,
    pub(crate) sandbox: Sandbox,
    pub(crate) agent: Agent,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let provider = Provider::start(|request, stream| stream.write_all(&answer(request)).is_ok());
        let sandbox = home.sandbox(&[]);
        let gateway =
            format!("gateway.listen = \"127.0.0.1:0\"\ngateway.provider_url = \"{}\"\n", provider.url());
        home.deliver_to(&sandbox, &gateway);
        let agent = home.start();
        Self { home, provider, sandbox, agent }
    }

    pub(crate) fn gateway(&self) -> String {
        format!("http://{}", self.agent.ready["gateway"].as_str().expect("is on"))
    }

    /// A command with the environment that an application of this kind has: how to call Anthropic, and nothing else.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, base: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.home.path("")).current_dir(self.home.path(""));
        command.env("ANTHROPIC_BASE_URL", base).env("ANTHROPIC_API_KEY", "sk-ant-test");
        command
    }

    /// Runs an example that prints the answer's text and costs one event; that event.
    pub(crate) fn event_of(self, mut example: Command) -> Value {
        let said = run(&mut example);
        assert!(said.contains("hello"), "{said}");
        let billed = self.sandbox.wait_billed(1);
        self.agent.stop();
        serde_json::from_str(billed.values().next().expect("one")).expect("JSON")
    }
}

/// What an example prints.
pub(crate) fn run(example: &mut Command) -> String {
    let output = example.output().unwrap_or_else(|error| panic!("{example:?} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program or folder that `tests/run.sh` installs.
pub(crate) fn tool(path: &str) -> PathBuf {
    let tool = root().join("target/tools").join(path);
    assert!(tool.exists(), "{path} is not in target/tools: run tests/run.sh, which installs it");
    tool
}

/// A message, in one piece or as a stream.
fn answer(request: &Got) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if asked["stream"] != true {
        return provider::says("msg_1", 25, 15);
    }
    let event = |name: &str, mut members: Value| {
        members["type"] = json!(name);
        chunk(format!("event: {name}\ndata: {members}\n\n").as_bytes())
    };
    let block = json!({"index": 0, "content_block": {"type": "text", "text": ""}});
    [
        STREAM.to_vec(),
        message_start("msg_1", 25),
        event("content_block_start", block),
        delta("hello"),
        event("content_block_stop", json!({"index": 0})),
        message_end(15),
    ]
    .concat()
}
