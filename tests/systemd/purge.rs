//! A purge deletes what was delivered. It refuses to delete anything else, or what it cannot know, unless told.

use crate::package::{Debian, UNITS};
use crate::support::KEY;

const TOLD: &str = "REVENIUM_AGENT_PURGE=yes";

/// Purges it in vain; what that said.
fn refused(debian: &Debian) -> String {
    let purged = debian.purge("");
    assert_ne!(purged.code, Some(0), "{}", purged.out);
    assert!(purged.out.contains("To deliver them, install it again. To delete them: "), "{}", purged.out);
    let kept = "ls -d /var/lib/revenium-agent /var/spool/revenium /etc/revenium-agent/key";
    debian.machine.run(kept);
    purged.out
}

/// Purges it; nothing of it is left.
fn purged(debian: &Debian, environment: &str) {
    let purged = debian.purge(environment);
    assert_eq!(purged.code, Some(0), "{}", purged.out);
    let left = "find /var/lib /var/spool /run /etc /usr -xdev -not -path '/run/systemd/*' \
                -not -path '/var/lib/dpkg/*' -not -path '/run/log/*' -name '*revenium*' \
                -not -name 'revenium-agent-tests.lock'";
    assert_eq!(debian.machine.run(left), "");
    assert_ne!(debian.machine.sh("dpkg-query -W revenium-agent").code, Some(0));
}

#[test]
fn a_backlog_is_kept_by_a_purge_found_by_the_next_install_and_deleted_when_told() {
    let debian = Debian::running();
    debian.send(3);
    let said = refused(&debian);
    assert!(said.contains("/var/lib/revenium-agent: 3 events that wait\n"), "{said}");
    // It can be tried again, and holds up nothing else.
    let state = "dpkg-query -W -f '${db:Status-Status}\\n' revenium-agent; dpkg --audit; dpkg --configure --pending; \
                 apt-get check -qq; ls /etc/revenium-agent";
    assert_eq!(debian.machine.run(state), "config-files\nconf.d\nkey\n");
    debian.install("1");
    debian.machine.wait_stored(3);
    refused(&debian);
    purged(&debian, TOLD);
}

#[test]
fn a_log_of_which_all_was_delivered_is_deleted() {
    let debian = Debian::running();
    let sandbox = format!(
        "systemd-run --quiet --unit=sandbox revenium-agent sandbox --listen 127.0.0.1:9 --key {KEY}=team"
    );
    debian.machine.run(&sandbox);
    debian.send(3);
    debian.machine.run("revenium-agent flush");
    debian.machine.run("systemctl stop sandbox");
    purged(&debian, "");
}

#[test]
fn what_a_purge_cannot_know_it_keeps() {
    // Nothing was sent, and that was counted at a stop; but not at the one after.
    let debian = Debian::running();
    let Debian { machine } = &debian;
    machine.run("systemctl restart revenium-agent");
    machine.run(
        "systemctl kill --signal STOP revenium-agent; systemctl mask --runtime --now revenium-agent.socket; \
                 systemctl kill --signal KILL revenium-agent; systemctl stop revenium-agent",
    );
    let said = refused(&debian);
    assert!(said.contains("events that nobody counted"), "{said}");
    machine.run("systemctl unmask --runtime revenium-agent.socket");

    // A dead letter is a person's to decide on.
    debian.install("1");
    machine.run("revenium-agent send --model m --provider p --input-tokens 1 --output-tokens 1 --profile nobody; [ $? -eq 1 ]");
    let said = refused(&debian);
    assert!(said.contains("/var/lib/revenium-agent: 1 dead letter\n"), "{said}");
    debian.install("1");
    machine.run("revenium-agent dlq discard --all --yes");

    // What an application left when the agent was gone.
    machine.run("dpkg --remove revenium-agent; echo x > /var/spool/revenium/a.jsonl");
    let said = refused(&debian);
    assert!(said.contains("/var/spool/revenium: 1 file(s) of events\n"), "{said}");
    assert!(!said.contains("/var/lib/revenium-agent:"), "{said}");
    machine.run(&format!("rm /var/spool/revenium/a.jsonl; systemctl is-enabled {UNITS} || true"));
    purged(&debian, "");
}

#[test]
fn a_note_without_words_counts_as_events_and_a_mount_is_emptied() {
    let debian = Debian::new();
    let Debian { machine } = &debian;
    debian.install("1");
    let data = "/var/lib/revenium-agent";
    // As a power cut may leave it, right after it was begun.
    machine.run(&format!(
        "mkdir -p {data}; mount -t tmpfs none {data}; mkdir {data}/store; touch {data}/undelivered"
    ));
    let kept = debian.purge("");
    assert!(kept.code != Some(0) && kept.out.contains("events that nobody counted"), "{}", kept.out);
    machine.run(&format!("echo nothing > {data}/undelivered"));
    let gone = debian.purge("");
    assert_eq!(gone.code, Some(0), "{}", gone.out);
    assert_eq!(machine.run(&format!("ls -A {data}; ls -d /etc/revenium-agent 2> /dev/null || true")), "");
    assert_ne!(machine.sh("dpkg-query -W revenium-agent").code, Some(0));
}
