//! The service's key: how it is replaced, as it really works, and what is said when it is not there.

use crate::machine::Machine;
use crate::support::{KEY, OTHER_KEY, until};

const SOURCE: &str = "/etc/revenium-agent/key";

/// The key that the agent uses, masked.
fn used(machine: &Machine) -> String {
    machine.status()["profiles"][0]["key"].as_str().unwrap_or_default().to_owned()
}

fn wait_used(machine: &Machine, end: &str) {
    until("the key in use", || used(machine), |key| key.ends_with(end));
}

#[test]
fn a_credential_changes_with_a_restart_by_hand_or_by_the_path_unit_and_with_nothing_less() {
    let machine = Machine::new();
    machine.start();
    let (old, new) = (&KEY[KEY.len() - 4..], &OTHER_KEY[OTHER_KEY.len() - 4..]);
    wait_used(&machine, old);
    machine.write(SOURCE, "0600", OTHER_KEY);
    machine.run("systemctl reload revenium-agent");
    let read_again = || machine.journal().contains("SIGHUP: reading key files again");
    until("it has read what there is", read_again, |read| *read);
    assert_eq!(
        machine.run("cat /run/credentials/revenium-agent.service/key").trim(),
        KEY,
        "the copy is as it was"
    );
    assert!(used(&machine).ends_with(old));
    machine.run("systemctl restart revenium-agent");
    wait_used(&machine, new);

    machine.run("systemctl start revenium-agent-key.path");
    machine.write(SOURCE, "0600", KEY);
    wait_used(&machine, old);
    // Written in place, as an editor may.
    machine.run(&format!("printf %s {OTHER_KEY} > {SOURCE}"));
    wait_used(&machine, new);
    assert_eq!(machine.show("NRestarts"), "0", "none of these was a failure");

    // One that cannot be used does not take the agent down, however often it comes.
    let pid = machine.show("MainPID");
    let refused = || machine.journal().matches("Failed to start revenium-agent-key.service").count();
    for times in 1..=6 {
        machine.write(
            SOURCE,
            if times < 6 { "0600" } else { "0644" },
            if times < 6 { "rev mk" } else { KEY },
        );
        until("the new key is refused", refused, |count| *count >= times);
        // systemd looks at the path again a moment after that.
        let watched = || machine.run("systemctl show -P SubState revenium-agent-key.path");
        until("the path is watched", watched, |state| state.trim() == "waiting");
    }
    assert_eq!((machine.show("MainPID"), used(&machine).ends_with(new)), (pid, true));
    machine.write(SOURCE, "0600", KEY);
    wait_used(&machine, old);
}

#[test]
fn a_key_file_of_the_agents_own_changes_without_a_restart() {
    let machine = Machine::new();
    machine.write("/etc/revenium-agent/team", "0640", KEY);
    machine.run("chown root:revenium /etc/revenium-agent/team");
    let config = "profiles.default.api_key_file = \"/etc/revenium-agent/team\"\n";
    machine.write("/etc/revenium-agent/config.toml", "0644", config);
    machine.start();
    wait_used(&machine, &KEY[KEY.len() - 4..]);
    let pid = machine.show("MainPID");
    machine.write("/etc/revenium-agent/team.new", "0640", OTHER_KEY);
    machine.run("cd /etc/revenium-agent; chown root:revenium team.new; mv team.new team");
    wait_used(&machine, &OTHER_KEY[OTHER_KEY.len() - 4..]);
    assert_eq!(machine.show("MainPID"), pid);
}

#[test]
fn what_is_wrong_with_a_key_is_on_the_services_page() {
    let machine = Machine::new();
    let page = || {
        let started = machine.sh("systemctl start revenium-agent");
        assert_ne!(started.code, Some(0), "{}", started.out);
        machine.sh("systemctl status revenium-agent").out
    };
    machine.run(&format!("rm {SOURCE}"));
    let missing = page();
    assert!(
        missing.contains("Status: \"failed: ") && missing.contains("Revenium's keys do; is the file there"),
        "{missing}"
    );

    machine.write(SOURCE, "0644", KEY);
    let exposed = page();
    let words = format!("profiles.default.credential: {SOURCE} is open to other users (mode 0644)");
    assert!(exposed.contains("Status: \"failed: ") && exposed.contains(&words), "{exposed}");
    assert!(exposed.contains(&format!("run: chmod 600 {SOURCE}")), "{exposed}");
    assert!(exposed.contains("status=78/CONFIG"), "{exposed}");

    machine.run(&format!("chmod 600 {SOURCE}"));
    machine.drop_in("[Service]\nLoadCredential=\nSetCredential=\n");
    let unit = page();
    assert!(unit.contains("$CREDENTIALS_DIRECTORY is not set: the unit needs LoadCredential=key:"), "{unit}");

    // What systemd says by itself, of a profile's key that our unit knows nothing of.
    machine.drop_in("[Service]\nRestart=no\nLoadCredential=team:/etc/revenium-agent/team\n");
    let other = page();
    assert!(other.contains("status=243/CREDENTIALS"), "{other}");

    machine.drop_in("");
    machine.write(SOURCE, "0600", "not a key");
    let shape = page();
    assert!(shape.contains("the key does not begin with \"hak_\" or \"rev_\""), "{shape}");
    assert!(!shape.contains("not a key"), "{shape}");

    machine.write(SOURCE, "0600", KEY);
    machine.start();
    assert_eq!(machine.show("NRestarts"), "0", "a wrong configuration is not tried again and again");
}
