//! Sockets that systemd holds: a restart refuses nobody and loses nothing.

use std::io::ErrorKind;

use crate::load::Load;
use crate::machine::Machine;
use crate::support::{Line, completion, until};

/// A connection that was there when the agent stopped may end, or be told so; none is refused.
const ENDS: [ErrorKind; 4] =
    [ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::Other];

#[test]
fn restarts_and_kills_under_load_refuse_no_client_of_the_socket_and_lose_nothing() {
    let machine = Machine::new();
    machine.run("systemctl start revenium-agent.socket");
    let owned = "stat -c '%a %U %G' /run/revenium/agent.sock";
    assert_eq!(machine.run(owned), "660 revenium revenium\n");
    assert_eq!(machine.show("ActiveState"), "inactive");
    // The first to come starts it.
    let load = Load::begin(&machine);
    load.wait_more(100);
    let socket = machine.run("stat -c %i /run/revenium/agent.sock");
    for _ in 0..3 {
        machine.run("systemctl restart revenium-agent");
        load.wait_more(100);
    }
    machine.run("systemctl kill --signal KILL revenium-agent");
    load.wait_more(200);
    assert_eq!(machine.show("NRestarts"), "1");
    let sent = load.finish();
    let refused: Vec<_> = sent.failures.iter().filter(|kind| !ENDS.contains(kind)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(!sent.failures.is_empty(), "the restarts were met");
    machine.wait_stored(sent.events);
    assert_eq!(machine.run("stat -c %i /run/revenium/agent.sock"), socket, "it is the same socket");

    // It is taken over as our own descriptors are: no child would have it.
    let pid = machine.show("MainPID");
    let flags = machine.run(&format!("grep flags /proc/{pid}/fdinfo/3"));
    let flags = u32::from_str_radix(flags.trim_start_matches("flags:").trim(), 8).expect("octal");
    assert_ne!(flags & 0o2_000_000, 0, "close-on-exec: {flags:o}");
}

#[test]
fn what_was_sent_while_the_agent_was_away_is_read_by_the_next_even_if_its_sender_is_gone() {
    let machine = Machine::new();
    machine.run("systemctl start revenium-agent.socket revenium-agent");
    // Away for long: it does not come back by itself before we let it.
    machine.run("systemctl kill --signal STOP revenium-agent");
    {
        let mut line = Line::connect(&machine.path("/run/revenium/agent.sock"));
        line.send(format!("{}\n", completion("m")).as_bytes());
    }
    machine.run("systemctl kill --signal KILL revenium-agent");
    machine.wait_show("NRestarts", |restarts| restarts == "1");
    machine.wait_stored(1);
}

#[test]
fn restarts_under_load_refuse_no_client_of_the_relay_and_lose_nothing() {
    let machine = Machine::new();
    machine.run("systemctl start revenium-agent.socket revenium-agent-relay.socket");
    machine.write("/run/clients.py", "0755", CLIENTS);
    machine.write("/run/key", "0600", crate::support::KEY);
    let clients =
        machine.command("python3", &["/run/clients.py"]).stdout(std::process::Stdio::piped()).spawn();
    let clients = clients.expect("nsenter runs");
    let sent = || machine.sh("wc -c < /run/sent").out.trim().parse::<u64>().unwrap_or(0);
    let wait_more = |more| {
        let wanted = sent() + more;
        until("requests answered", sent, |sent| *sent >= wanted);
    };
    wait_more(50);
    for _ in 0..3 {
        machine.run("systemctl restart revenium-agent");
        wait_more(50);
    }
    machine.run("touch /run/enough");
    let told = clients.wait_with_output().expect("ends");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(told["refused"], serde_json::json!([]), "{}", machine.journal());
    machine.wait_stored(told["stored"].as_u64().expect("a count"));
}

#[test]
fn a_socket_that_is_not_what_the_configuration_says_is_refused_with_what_to_do() {
    let machine = Machine::new();
    machine.write(
        "/etc/revenium-agent/conf.d/x.toml",
        "0644",
        "socket.path = \"/run/revenium/other.sock\"\n",
    );
    machine.run("systemctl start revenium-agent.socket");
    assert_ne!(machine.sh("systemctl start revenium-agent").code, Some(0));
    let page = machine.sh("systemctl status revenium-agent").out;
    let words = "systemd passes /run/revenium/agent.sock: let ListenStream= of revenium-agent.socket and \
                 socket.path name the same path";
    assert!(page.contains(words) && page.contains("/run/revenium/other.sock (socket.path)"), "{page}");

    machine.write("/etc/revenium-agent/conf.d/x.toml", "0644", "relay.listen = \"127.0.0.1:1\"\n");
    machine.run("systemctl start revenium-agent.socket revenium-agent-relay.socket");
    assert_ne!(machine.sh("systemctl start revenium-agent").code, Some(0));
    let page = machine.sh("systemctl status revenium-agent").out;
    assert!(page.contains("it is 127.0.0.1:8793, and relay.listen says 127.0.0.1:1: leave one"), "{page}");
}

/// Four clients of the relay, each request on a connection of its own, sent again until it is answered
/// with 201. Tells how many were, and every connection that was refused.
const CLIENTS: &str = r#"
import http.client, json, os, threading, time
key, refused, stored, lock = open('/run/key').read(), [], [0], threading.Lock()
body = json.dumps({'model': 'm', 'provider': 'Anthropic', 'inputTokenCount': 25, 'outputTokenCount': 15})
def once(name):
    relay = http.client.HTTPConnection('127.0.0.1', 8793, timeout=60)
    try:
        headers = {'x-api-key': key, 'Content-Type': 'application/json', 'Idempotency-Key': name}
        relay.request('POST', '/meter/v2/ai/completions', body, headers)
        status = relay.getresponse().status
        if status not in (201, 503):
            refused.append(status)
        return status == 201
    except ConnectionRefusedError as error:
        refused.append(str(error))
    except (http.client.HTTPException, OSError):
        pass
    finally:
        relay.close()
    time.sleep(0.01)
    return False
def client(number):
    count = 0
    while not os.path.exists('/run/enough'):
        name = f'{number}-{count}'
        while not once(name):
            pass
        count += 1
        with lock:
            stored[0] += 1
            with open('/run/sent', 'a') as sent:
                sent.write('.')
clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
for each in clients: each.start()
for each in clients: each.join()
print(json.dumps({'refused': refused, 'stored': stored[0]}))
"#;
