//! The README's commands, run as they are written, against the binary that was built for tests.
//!
//! A command that is neither run here nor by `tests/run.sh` fails the test: nobody would notice
//! when it stopped working.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

#[path = "readme/gateway.rs"]
mod gateway;

/// For something that should happen at once, on a machine that is busy.
const AT_MOST: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of the README's fenced blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let fence = format!("```{language}\n");
    let of_language = readme.split(&fence).skip(1);
    of_language.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// A folder to follow the README in.
struct Reader {
    dir: tempfile::TempDir,
    /// The address that stands in for the default one, which may be taken.
    admin: RefCell<String>,
    commands: BTreeSet<String>,
    done: RefCell<BTreeSet<String>>,
}

/// A process that goes on, and the lines that it prints; killed if the test fails before.
struct Started {
    child: Child,
    lines: Receiver<String>,
}

impl Reader {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).expect("made");
        symlink(env!("CARGO_BIN_EXE_revenium-agent"), bin.join("revenium-agent")).expect("linked");
        let commands = blocks("sh").iter().flat_map(|block| block.lines()).map(str::to_owned).collect();
        let admin = RefCell::new(String::new());
        Self { dir, admin, commands, done: RefCell::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `lines` of the README as one script, with the places of this folder instead of its own.
    fn script(&self, lines: &[&str]) -> String {
        for line in lines {
            assert!(self.commands.contains(*line), "the README does not say: {line}");
            self.done.borrow_mut().insert((*line).to_owned());
        }
        lines
            .join("\n")
            .replace("cargo run --release -- ", "revenium-agent ")
            .replace("/tmp/revenium-try", &self.path("try").display().to_string())
            .replace("127.0.0.1:8792", &self.admin.borrow())
            // Nothing will be delivered here.
            .replace("--deadline 30s", "--deadline 1s")
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-ec", script])
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.dir.path())
            .env("REVENIUM_AGENT_SOCKET", self.path("agent.sock"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs them, whatever comes of it.
    fn try_to(&self, lines: &[&str]) -> Output {
        self.shell(&self.script(lines)).output().expect("sh runs")
    }

    /// Runs them to their end; what they print.
    fn run(&self, lines: &[&str]) -> String {
        let output = self.try_to(lines);
        assert!(output.status.success(), "{lines:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Starts one that goes on, with more arguments.
    fn start(&self, line: &str, more: &str) -> Started {
        let mut command = self.shell(&format!("exec {} {more}", self.script(&[line])));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Started { child, lines }
    }

    /// What a process wrote into its ready file, once it is there.
    fn ready(&self, name: &str) -> serde_json::Value {
        let deadline = Instant::now() + AT_MOST;
        loop {
            let written = fs::read(self.path(name)).unwrap_or_default();
            match serde_json::from_slice(&written) {
                Ok(ready) => return ready,
                Err(error) => assert!(Instant::now() < deadline, "no ready file: {error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Commands that nothing has run.
    fn left(&self, by_script: &[&str]) -> Vec<String> {
        let script = fs::read_to_string(root().join("tests/run.sh")).expect("the script");
        for command in by_script {
            assert!(self.commands.contains(*command), "the README does not say: {command}");
            let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
            let runs_it = *command == "tests/run.sh" || script.contains(&format!(" {program} {rest}"));
            assert!(runs_it, "tests/run.sh does not run: {command}");
        }
        let done = self.done.borrow();
        // Run by tests/systemd, in a machine of its own, as they are read from this block.
        let of_service = blocks("sh").into_iter().find(|block| block.contains("systemctl enable"));
        let of_service = of_service.expect("how to install the service");
        let is_of_service = |command: &str| of_service.lines().any(|line| line == command);
        let is_left = |command: &&String| {
            !done.contains(*command) && !by_script.contains(&command.as_str()) && !is_of_service(command)
        };
        self.commands.iter().filter(is_left).cloned().collect()
    }
}

impl Started {
    /// The next line that `is` what is looked for.
    fn line(&self, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + AT_MOST;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("it never came; seen: {seen:#?}"));
            if is(&line) {
                return line;
            }
            seen.push(line);
        }
    }

    fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("ends").success());
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        // It may have ended.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What stays the same in a line of the sandbox: all but the time and the event's id.
fn shown(line: &str) -> Vec<&str> {
    let parts = line.split("  ").map(str::trim).filter(|part| !part.is_empty());
    parts.filter(|part| !part.contains(':') && !part.contains("..")).collect()
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let reader = Reader::new();
    let sandbox =
        reader.start("cargo run --release -- run --sandbox --socket /tmp/revenium-try/agent.sock", "");
    sandbox.line(|line| line.contains("revenium-agent send"));
    let sent = reader.run(&["cargo run --release -- send --socket /tmp/revenium-try/agent.sock --model claude-sonnet-4 --provider Anthropic --input-tokens 25 --output-tokens 15"]);
    assert_eq!(sent, "durable: 1 event\n");
    let received = sandbox.line(|line| line.contains("billed"));
    let promised = &blocks("text")[0];
    assert_eq!(shown(&received), shown(promised.trim()));

    let answer = reader.run(&[
        r#"echo '{"model":"claude-sonnet-4","inputTokenCount":25,"outputTokenCount":15}' | nc -N -U /tmp/revenium-try/agent.sock"#,
    ]);
    assert!(answer.starts_with(r#"{"ok":true,"id":""#), "{answer}");
    let received = sandbox.line(|line| line.contains("billed"));
    assert_eq!(shown(&received), shown(promised.trim()));

    python_meters(&reader);
    let received = sandbox.line(|line| line.contains("billed"));
    assert!(received.contains("msg_1  acme"), "{received}");
    sandbox.stop();

    let checked =
        reader.run(&["export REVENIUM_METERING_API_KEY=rev_mk_0123456789abcdef0123", "revenium-agent check"]);
    assert!(checked.contains("rev_mk_…0123") && !checked.contains("456789"), "{checked}");
    set_up(&reader);
    the_relay(&reader);
    gateway::the_gateway(&reader);
    a_service(&reader);

    let left = reader.left(&["tests/run.sh", "cargo install --locked --path .", "pip install ./python"]);
    assert!(left.is_empty(), "commands of the README that nothing runs: {left:#?}");
}

/// The README's Python, with a message as Anthropic's SDK would give it.
fn python_meters(reader: &Reader) {
    let socket = reader.path("try/agent.sock").display().to_string();
    let code = blocks("python").concat().replace("/run/revenium/agent.sock", &socket);
    let call = "\nfrom types import SimpleNamespace as N\n\
                meter(N(model='m', id='msg_1', usage=N(input_tokens=1, output_tokens=2)), {'organization_id': 'acme'})\n";
    let output = Command::new("python3").args(["-c", &(code + call)]).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run python3 ({error}); apt-get install python3"));
    assert!(output.status.success(), "{}", said(&output));
}

/// A user sets an agent up, whose upstream is a stand-in; root would set up this machine's.
fn set_up(reader: &Reader) {
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_revenium-agent"));
    sandbox.args([
        "sandbox",
        "--with-stdin",
        "--listen",
        "127.0.0.1:0",
        "--key",
        "rev_mk_0123456789abcdef0123=team",
    ]);
    let mut sandbox = sandbox.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(sandbox.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("says where it listens");
    let said: serde_json::Value = serde_json::from_str(&line).expect("is JSON");
    let url = format!("http://{}", said["sandbox"].as_str().expect("an address"));
    let lines = ["export REVENIUM_METERING_API_KEY=rev_mk_0123456789abcdef0123", "revenium-agent setup"];
    let user = format!("unshare --user --map-user=1000 --map-group=1000 -- revenium-agent setup --url {url}");
    let script = reader.script(&lines).replace("revenium-agent setup", &user);
    let output = reader.shell(&script).output().expect("sh runs");
    assert!(
        output.status.success() && self::said(&output).contains("accepted it (201"),
        "{}",
        self::said(&output)
    );
    assert!(reader.path(".config/revenium-agent/key").exists(), "{}", self::said(&output));
    // What follows has a configuration of its own.
    fs::remove_dir_all(reader.path(".config")).expect("removed");
    drop(sandbox.stdin.take());
    assert!(sandbox.wait().expect("ends").success());
}

/// The relay in front of a sandbox, and a client with curl.
fn the_relay(reader: &Reader) {
    let line = "cargo run --release -- run --sandbox --socket /tmp/revenium-try/agent.sock";
    let sandbox = reader.start(line, "--relay 127.0.0.1:0");
    let told = sandbox.line(|line| line.contains("REVENIUM_METERING_BASE_URL=http://"));
    let url = told.split("REVENIUM_METERING_BASE_URL=").nth(1).and_then(|rest| rest.split(' ').next());
    let url = url.expect("is told with the key");
    let lines = [
        "export REVENIUM_METERING_BASE_URL=http://127.0.0.1:8793",
        r#"curl -s http://127.0.0.1:8793/meter/v2/ai/completions -H "x-api-key: $REVENIUM_METERING_API_KEY" -H 'Content-Type: application/json' -d '{"model":"claude-sonnet-4","inputTokenCount":25,"outputTokenCount":15}'"#,
    ];
    let script = format!("REVENIUM_METERING_API_KEY=hak_sandbox\n{}", reader.script(&lines));
    let output = reader.shell(&script.replace("http://127.0.0.1:8793", url)).output().expect("sh runs");
    assert!(
        output.status.success() && said(&output).contains("\"resourceType\":\"metering\""),
        "{}",
        said(&output)
    );
    let received = sandbox.line(|line| line.contains("billed"));
    assert_eq!(shown(&received), shown(blocks("text")[0].trim()));
    sandbox.stop();
}

/// An agent with a key, as a user would have it; its upstream is nobody.
fn a_service(reader: &Reader) {
    let folder = reader.path(".config/revenium-agent");
    fs::create_dir_all(&folder).expect("made");
    let config = format!(
        "admin.listen = \"127.0.0.1:0\"\nsocket.path = {:?}\nprofiles.default.url = \"http://127.0.0.1:9\"\n",
        reader.path("agent.sock")
    );
    fs::write(folder.join("config.toml"), config).expect("written");
    let agent = reader.start("revenium-agent run", "--ready-file ready");
    let ready = reader.ready("ready");
    ready["admin"].as_str().expect("an address").clone_into(&mut reader.admin.borrow_mut());

    let event = r#"{"model":"claude-sonnet-4","inputTokenCount":1,"outputTokenCount":2}"#;
    fs::write(reader.path("events.jsonl"), format!("{event}\n{event}\n")).expect("written");
    let sent = reader.run(&[
        "revenium-agent send --model claude-sonnet-4 --provider Anthropic --input-tokens 25 --output-tokens 15",
        "revenium-agent send - < events.jsonl",
    ]);
    assert_eq!(sent, "durable: 1 event\ndurable: 2 events\n");
    fs::write(reader.path("app.py"), "import os; print(os.environ['REVENIUM_AGENT_SOCKET'])\n")
        .expect("written");
    let told = reader.run(&["revenium-agent exec -- python3 app.py"]);
    assert_eq!(told.trim(), reader.path("agent.sock").display().to_string());
    let spool = reader.path(".local/state/revenium/spool");
    fs::create_dir_all(&spool).expect("made");
    let producer = revenium_event::Producer::from_bytes([7; 16]);
    let hello = format!("{{\"hello\":{{\"v\":1,\"producer\":\"{producer}\"}}}}\n");
    let numbered = event.replacen('{', "{\"n\":1,", 1);
    let name = revenium_event::spool::file_name(producer, 1);
    fs::write(spool.join(&name), format!("{hello}{numbered}\n")).expect("written");
    let sent = reader.run(&["revenium-agent send --spool ~/.local/state/revenium/spool"]);
    assert_eq!((&*sent, spool.join(name).exists()), ("durable: 1 event of 1 file\n", false));
    let status = reader.try_to(&["revenium-agent status"]);
    // 1: the key is missing and the upstream is away, which is what status is for.
    assert!(status.status.code().is_some_and(|code| code < 2), "{}", said(&status));
    assert!(said(&status).contains("4 waiting"), "{}", said(&status));
    let metrics = reader.run(&["curl -s http://127.0.0.1:8792/metrics"]);
    assert!(metrics.contains("revenium_agent_events_committed_total 4"), "{metrics}");
    a_doctor(reader, &folder);
    dead_letters(reader);
    agent.stop();
    assert_eq!(reader.run(&["revenium-agent log repair"]), "nothing to repair: the log is whole\n");
}

/// What it says of a key file that everybody can read.
fn a_doctor(reader: &Reader, folder: &Path) {
    let config = fs::read_to_string(folder.join("config.toml")).expect("read");
    let with_key = format!("{config}profiles.default.api_key_file = \"key\"\n");
    fs::write(folder.join("config.toml"), with_key).expect("written");
    fs::write(folder.join("key"), "rev_mk_0123456789abcdef0123").expect("written");
    fs::set_permissions(folder.join("key"), Permissions::from_mode(0o644)).expect("mode set");
    let ended = reader.try_to(&["revenium-agent doctor"]);
    fs::write(folder.join("config.toml"), config).expect("written");
    assert_eq!(ended.status.code(), Some(78), "{}", said(&ended));
    let shown = said(&ended).replace(&folder.display().to_string(), "/etc/revenium-agent");
    assert!(shown.contains(&blocks("text")[1]), "{shown}");
}

/// Two events for a profile that is not there: one is mended, one is given up.
fn dead_letters(reader: &Reader) {
    let event = r#"{"model":"claude-sonnet-4","inputTokenCount":1,"outputTokenCount":2,"profile":"nobody"}"#;
    let send = format!("printf '%s\\n' '{event}' '{event}' | revenium-agent send -");
    let refused = reader.shell(&send).output().expect("sh runs");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let listed = reader.run(&["revenium-agent dlq list"]);
    assert!(listed.contains("profile nobody is not configured here"), "{listed}");
    assert!(reader.run(&["revenium-agent dlq show 5"]).contains("\"inputTokenCount\": 1"));
    let edit = reader.script(&["revenium-agent dlq edit 5"]);
    let edited = reader.shell(&format!("export EDITOR='sed -i s/nobody/default/'; {edit}")).output();
    assert!(edited.as_ref().expect("sh runs").status.success(), "{}", said(&edited.expect("sh runs")));
    let retried = reader.try_to(&["revenium-agent dlq retry --all"]);
    assert!(said(&retried).contains("retried: 0 letters; failed: 1"), "{}", said(&retried));
    reader.run(&["revenium-agent dlq export --output letters.jsonl"]);
    let exported = fs::read_to_string(reader.path("letters.jsonl")).expect("written");
    assert!(exported.contains("\"reason\":\"refused-at-intake\""), "{exported}");
    assert_eq!(reader.run(&["revenium-agent dlq discard --all --yes"]), "discarded: 1 letter\n");
    let listed = reader.run(&["revenium-agent profile list"]);
    assert!(listed.contains("5 waiting; 0 dead"), "{listed}");
    let claimed = reader.try_to(&["revenium-agent profile claim key-5d3f0a12 --as default"]);
    assert!(said(&claimed).contains("no event came with key-5d3f0a12"), "{}", said(&claimed));
    let books = reader.run(&["revenium-agent reconcile"]);
    assert!(books.ends_with("accounted for; the running agent counts the same\n"), "{books}");
    let whereabouts = reader.try_to(&["revenium-agent where msg_01XFDUDYJgAACzvnptvVoYEL"]);
    assert_eq!(whereabouts.status.code(), Some(1), "{}", said(&whereabouts));
    assert!(said(&whereabouts).starts_with("not known: "), "{}", said(&whereabouts));
    assert!(reader.run(&["revenium-agent log verify"]).starts_with("whole: 1 segment, "));
    reader.run(&["revenium-agent log export --output everything.jsonl"]);
    let flushed = reader.try_to(&["revenium-agent flush --deadline 30s"]);
    assert_eq!(flushed.status.code(), Some(1));
    assert!(said(&flushed).contains("5 waiting (5 completion of default)"), "{}", said(&flushed));
}
