//! The gateway as a service of its own, with its socket held by systemd.

use crate::machine::Machine;
use crate::package::{Debian, package};
use crate::support::until;

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

/// Begins the gateway, by its socket, before that provider.
fn serve(machine: &Machine) {
    machine.write("/run/provider.py", "0755", PROVIDER);
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
    serve(&machine);
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
    serve(machine);
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
