//! The gateway as a service of its own, with its socket held by systemd.

use revenium_agent::sandbox::{What, read_journal};

use crate::machine::Machine;
use crate::package::{Debian, package};
use crate::support::{KEY, until};

/// Answers a stream that ends when /run/go is there; one with `quick` in its path at once.
const PROVIDER: &str = r#"
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.say('message_start', '"message":{"id":"%s","model":"m","usage":{"input_tokens":1,"output_tokens":1}}' % self.path[-5:])
        while "quick" not in self.path and not os.path.exists("/run/go"):
            time.sleep(0.01)
        self.say('message_delta', '"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}')
        self.say('message_stop', '"x":1')
        self.wfile.write(b"0\r\n\r\n")

    def say(self, name, members):
        data = ('event: %s\ndata: {"type":"%s",%s}\n\n' % (name, name, members)).encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

http.server.ThreadingHTTPServer(("127.0.0.1", 8999), Handler).serve_forever()
"#;

/// Calls until /run/done is there, JSON and streams in turn, from applications that keep their connections and such that
/// do not. Prints how each call failed, then how many there were. A connection that was kept may be closed while
/// nobody uses it: a call that finds it so is made again, as every client does it.
const CALLERS: &str = r#"
import http.client, os, threading

def ask(connection, name, streams):
    body = '{"model":"m","stream":%s}' % ("true" if streams else "false")
    connection.request("POST", "/v1/messages?id=" + name, body, {"content-type": "application/json"})
    return connection.getresponse()

def call(kept, name, streams):
    if kept is not None:
        try:
            return kept, ask(kept, name, streams)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            kept.close()
    connection = http.client.HTTPConnection("127.0.0.1", 8794, timeout=120)
    return connection, ask(connection, name, streams)

def caller(which):
    kept, n = None, 0
    while not os.path.exists("/run/done"):
        n += 1
        name, streams = "msg_%d_%d" % (which, n), (which + n) % 2 == 0
        try:
            kept, answer = call(kept, name, streams)
            text = answer.read().decode()
            if answer.status != 200 or not (text.endswith('"x":1}\n\n') if streams else text.endswith("}}")):
                print(name, answer.status, text[-80:], flush=True)
        except Exception as error:
            print(name, repr(error), flush=True)
            kept = None
        if which % 4 < 2 and kept is not None:
            kept.close()
            kept = None
    counts[which] = n

counts = [0] * 12
callers = [threading.Thread(target=caller, args=[which]) for which in range(len(counts))]
for each in callers: each.start()
for each in callers: each.join()
print("calls:", sum(counts), flush=True)
"#;

/// The provider of those callers: each stream comes in pieces, over some time.
const BUSY_PROVIDER: &str = r#"
import http.server, json, socketserver, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = self.path.partition("id=")[2]
        message = {"id": name, "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}
        self.send_response(200)
        if not asked["stream"]:
            body = json.dumps({"stop_reason": "end_turn", **message}).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.say("message_start", '"message":' + json.dumps(message))
        for _ in range(10):
            time.sleep(0.02)
            self.say("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"x"}')
        self.say("message_delta", '"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}')
        self.say("message_stop", '"x":1')
        self.wfile.write(b"0\r\n\r\n")

    def say(self, name, members):
        data = ('event: %s\ndata: {"type":"%s",%s}\n\n' % (name, name, members)).encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size, daemon_threads = 128, True

Server(("127.0.0.1", 8999), Handler).serve_forever()
"#;

/// How often the gateway is restarted under them.
const RESTARTS: usize = 6;

/// Begins the gateway, by its socket, before that provider.
fn serve(machine: &Machine, provider: &str) {
    machine.write("/run/provider.py", "0755", provider);
    machine.write(
        "/etc/revenium-agent/conf.d/gateway.toml",
        "0644",
        "gateway.provider_url = \"http://127.0.0.1:8999\"\n",
    );
    machine.run("systemd-run --unit provider python3 /run/provider.py");
    machine.run("systemctl start revenium-agent-gateway.socket");
    // The first client starts the gateway, once the provider listens.
    until(
        "the provider listens",
        || machine.sh("curl -s http://127.0.0.1:8999/").code,
        |code| *code == Some(0),
    );
}

/// Calls it; what comes is in a file of the name.
fn call(machine: &Machine, name: &str, path: &str) {
    machine.run(&format!(
        "systemd-run --unit {name} --property StandardOutput=file:/run/{name}.out \
         curl -sN --retry 0 http://127.0.0.1:8794/v1/messages?{path} -d '{{}}'"
    ));
}

fn wait_came(machine: &Machine, name: &str, text: &str) {
    let look = || machine.sh(&format!("cat /run/{name}.out")).out;
    until(text, look, |out| out.contains(text));
}

fn wait_state(machine: &Machine, is: &str) {
    let state = || machine.run("systemctl show -P ActiveState revenium-agent-gateway").trim().to_owned();
    until(is, state, |state| state == is);
}

#[test]
fn a_restart_under_load_cuts_no_answer_and_refuses_no_client() {
    let machine = Machine::new();
    machine.start();
    serve(&machine, PROVIDER);
    call(&machine, "first", "slow1");
    wait_came(&machine, "first", "message_start");
    machine.run("systemctl restart --no-block revenium-agent-gateway");
    wait_state(&machine, "deactivating");
    call(&machine, "second", "quick");
    machine.run("touch /run/go");
    wait_came(&machine, "first", "message_stop");
    wait_came(&machine, "second", "message_stop");
    machine.wait_stored(2);
}

#[test]
fn an_upgrade_waits_for_no_answer_of_the_gateway_and_cuts_none() {
    let debian = Debian::running();
    let machine = &debian.machine;
    machine.copy(&package("2"), "/srv/2.deb", "0644");
    serve(machine, PROVIDER);
    call(machine, "first", "slow1");
    wait_came(machine, "first", "message_start");
    // The package's configuration has it show how it does.
    assert!(machine.run("curl -s http://127.0.0.1:8795/metrics").contains("revenium_agent_connections 1\n"));
    debian.install("2");
    wait_state(machine, "deactivating");
    call(machine, "second", "quick");
    machine.run("touch /run/go");
    wait_came(machine, "first", "message_stop");
    wait_came(machine, "second", "message_stop");
    wait_state(machine, "active");
    machine.wait_stored(2);
}

#[test]
fn restarts_under_load_cut_no_stream_refuse_no_call_and_every_call_is_billed_once() {
    let machine = Machine::new();
    let sandbox =
        "revenium-agent sandbox --listen 127.0.0.1:9 --rate-limit 0 --journal /run/journal --journal-bodies";
    machine.run(&format!("systemd-run --quiet --unit=sandbox {sandbox} --key {KEY}=team"));
    machine.start();
    serve(&machine, BUSY_PROVIDER);
    machine.write("/run/callers.py", "0755", CALLERS);
    machine.run(
        "systemd-run --quiet --unit callers --property StandardOutput=file:/run/callers.out \
         --property StandardError=file:/run/callers.out python3 /run/callers.py",
    );
    let billed = || read_journal(&machine.path("/run/journal")).expect("a journal");
    let billed = || billed().into_iter().filter(|entry| entry.what == What::Billed).collect::<Vec<_>>();
    for _ in 0..RESTARTS {
        // Each of them is called before the next one comes.
        let before = billed().len();
        until("calls are billed", || billed().len(), |count| *count >= before + 50);
        machine.run("systemctl restart revenium-agent-gateway");
    }
    machine.run("touch /run/done");
    let said = || machine.sh("cat /run/callers.out").out;
    let said = until("the callers are done", said, |said| said.contains("calls: "));
    let calls = said.strip_prefix("calls: ").unwrap_or_else(|| panic!("{said}\n{}", machine.journal()));
    let calls: usize = calls.trim().parse().expect("a number");
    until("all are billed", || billed().len(), |count| *count >= calls);
    let mut ids: Vec<_> = billed().into_iter().filter_map(|entry| entry.transaction).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), billed().len()), (calls, calls), "once each");
    let ends = machine.run("journalctl -o cat -u revenium-agent-gateway");
    assert!(!ends.contains("cut off") && !ends.contains("not metered"), "{ends}");
}
