//! `setup` on a machine where nothing is installed: from the program alone to a service that delivers.

use serde_json::Value;

use crate::machine::{Machine, PROGRAM, SMALL};
use crate::support::{KEY, OTHER_KEY, until};

const URL: &str = "http://127.0.0.1:4790";

/// What is sent to see that it works.
const SEND: &str = "send --model m --provider Anthropic --input-tokens 1 --output-tokens 1 --timeout 20s";

/// A machine with a stand-in for Revenium that takes two keys.
fn machine() -> Machine {
    let machine = Machine::bare();
    machine.run(&format!(
        "systemd-run --quiet --unit=sandbox {PROGRAM} sandbox --listen {} --journal /run/journal \
         --key {KEY}=team --key {OTHER_KEY}=team",
        URL.trim_start_matches("http://")
    ));
    let listens = || machine.sh("curl -s -o /dev/null -w %{http_code} http://127.0.0.1:4790/").code;
    until("the stand-in listens", listens, |code| *code == Some(0));
    machine
}

fn billed(machine: &Machine) -> usize {
    machine.run("cat /run/journal").matches("\"what\":\"billed\"").count()
}

#[test]
fn root_gets_a_service_from_the_program_alone_and_it_delivers() {
    let machine = machine();
    machine.write("/etc/revenium-agent/conf.d/test.toml", "0644", SMALL);
    let setup = |key: &str, more: &str| {
        machine.run(&format!("REVENIUM_METERING_API_KEY={key} {PROGRAM} setup --yes --url {URL} {more}"))
    };
    // Whatever the umask is: the service's user reads the configuration.
    let said =
        machine.run(&format!("umask 077; REVENIUM_METERING_API_KEY={KEY} {PROGRAM} setup --yes --url {URL}"));
    assert!(said.contains(&format!("{URL} accepted it (201, id ")), "{said}");
    assert!(said.contains("\nThe service runs.\n"), "{said}");
    assert_eq!(billed(&machine), 1);
    let modes = "stat -c '%a %U %G %n' /etc/revenium-agent /etc/revenium-agent/key \
                 /etc/revenium-agent/config.toml /usr/local/bin/revenium-agent \
                 /etc/systemd/system/revenium-agent.service";
    assert_eq!(
        machine.run(modes),
        "755 root root /etc/revenium-agent\n600 root root /etc/revenium-agent/key\n\
         644 root root /etc/revenium-agent/config.toml\n755 root root /usr/local/bin/revenium-agent\n\
         644 root root /etc/systemd/system/revenium-agent.service\n"
    );
    let enabled =
        machine.run("systemctl is-enabled revenium-agent.socket revenium-agent-key.path revenium-agent");
    assert_eq!(enabled, "enabled\nenabled\nenabled\n");
    let verified =
        machine.run("systemd-analyze verify --recursive-errors=yes /etc/systemd/system/revenium-agent*");
    assert_eq!(verified, "");

    let told = said.lines().find_map(|line| line.trim().strip_prefix("once the gateway is on: "));
    machine.run(&format!("{} && systemctl start revenium-agent-gateway", told.expect("is told")));
    let of_gateway = machine.run("curl -s http://127.0.0.1:8795/metrics");
    assert!(of_gateway.contains("revenium_agent_gateway_requests_total"), "{of_gateway}");

    machine.run("useradd app && usermod -aG revenium app");
    let sent = machine.run(&format!(
        "setpriv --reuid app --regid app --init-groups /usr/local/bin/revenium-agent exec -- \
         /usr/local/bin/revenium-agent {SEND}"
    ));
    assert_eq!(sent, "durable: 1 event\n");
    until("it is delivered", || billed(&machine), |count| *count == 2);

    let runs = machine.show("InvocationID");
    let said = setup(KEY, "");
    for word in ["  wrote ", "  replaced ", "  kept "] {
        assert!(!said.contains(word), "{said}");
    }
    assert!(said.contains("\nThe service runs.\n"), "{said}");
    assert_eq!(machine.show("InvocationID"), runs, "it was not restarted");

    let said = setup(OTHER_KEY, "--replace-key");
    assert!(said.contains("  replaced   /etc/revenium-agent/key (mode 0600): hak_…tsrq\n"), "{said}");
    let used = || {
        let status = "/usr/local/bin/revenium-agent status --json";
        let status: Value = serde_json::from_str(&machine.sh(status).out).unwrap_or_default();
        status["profiles"][0]["key"].as_str().unwrap_or_default().to_owned()
    };
    until("the new key is used", used, |key| key.ends_with("tsrq"));

    a_command_finds_the_relay_that_systemd_holds(&machine);
}

fn a_command_finds_the_relay_that_systemd_holds(machine: &Machine) {
    let exec = "/usr/local/bin/revenium-agent exec -- sh -c 'echo at $REVENIUM_METERING_BASE_URL'";
    assert_eq!(machine.run(exec), "at\n");
    machine.run(
        "systemctl stop revenium-agent.socket revenium-agent.service
         systemctl start revenium-agent-relay.socket revenium-agent.socket revenium-agent.service",
    );
    assert_eq!(machine.run(exec), "at http://127.0.0.1:8793\n");
}

#[test]
fn a_machine_with_a_packages_units_gets_its_key_and_its_service() {
    let machine = Machine::new();
    machine.run("rm -rf /etc/revenium-agent/key");
    let said = machine.run(&format!(
        "echo {KEY} | revenium-agent setup --key-file - --no-test --yes; ls /etc/systemd/system"
    ));
    assert!(said.contains("  wrote      /etc/revenium-agent/key (mode 0600): rev_mk_…ghij\n"), "{said}");
    assert!(said.contains("  unchanged  /etc/revenium-agent/config.toml\n"), "{said}");
    assert!(said.contains("  found      systemd's units"), "{said}");
    assert!(said.contains("\nThe service runs.\n"), "{said}");
    assert!(!said.contains("\nrevenium-agent.service\n"), "none is written beside it: {said}");
    assert_eq!(machine.show("SubState"), "running");
}

#[test]
fn a_user_gets_a_service_of_their_own() {
    let machine = machine();
    machine.run(&format!("useradd -m me; cp {PROGRAM} /home/me/agent; chown me /home/me/agent"));
    machine.run("systemctl start user@$(id -u me).service");
    let uid = machine.run("id -u me").trim().to_owned();
    machine.write("/home/me/.config/revenium-agent/conf.d/test.toml", "0644", SMALL);
    machine.run("chown -R me:me /home/me/.config");
    let me = |command: &str| {
        machine.run(&format!(
            "cd /home/me; setpriv --reuid me --regid me --init-groups env -i HOME=/home/me PATH=$PATH \
             XDG_RUNTIME_DIR=/run/user/{uid} REVENIUM_METERING_API_KEY={KEY} {command}"
        ))
    };
    let said = me(&format!("/home/me/agent setup --yes --url {URL}"));
    assert!(said.contains("accepted it (201, id "), "{said}");
    assert!(said.contains("\nThe service runs.\n"), "{said}");
    assert_eq!(me(&format!("/home/me/agent {SEND}")), "durable: 1 event\n");
    until("it is delivered", || billed(&machine), |count| *count == 2);
    let said = me(&format!("/home/me/agent setup --url {URL}"));
    assert!(said.contains("\nThe service runs.\n") && !said.contains("  wrote "), "{said}");
}
