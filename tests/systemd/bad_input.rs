//! A machine that is not as it should be: where the service cannot start, its page says why.

use crate::machine::{Machine, SMALL};
use crate::support::{Line, completion};

/// Starts the service in vain; what its page shows once it is not tried any more.
fn page(machine: &Machine) -> String {
    machine.drop_in("[Service]\nRestart=no\n");
    let started = machine.sh("systemctl start revenium-agent");
    assert_ne!(started.code, Some(0), "{}", started.out);
    machine.sh("systemctl status revenium-agent").out
}

#[test]
fn a_store_that_root_wrote_is_named_with_the_command_that_mends_it() {
    let machine = Machine::new();
    machine.start();
    machine.run("systemctl stop revenium-agent; touch /var/lib/revenium-agent/store/0; chmod 600 /var/lib/revenium-agent/store/0");
    let page = page(&machine);
    assert!(
        page.contains("Status: \"failed: cannot use the data directory /var/lib/revenium-agent: "),
        "{page}"
    );
    let mend = "chown -R revenium /var/lib/revenium-agent";
    assert!(page.contains(mend), "{page}");
    machine.run(mend);
    machine.start();
}

#[test]
fn a_var_that_is_read_only_is_told() {
    let machine = Machine::new();
    machine.start();
    machine.run("systemctl stop revenium-agent; mount --bind /var /var && mount -o remount,bind,ro /var");
    let page = page(&machine);
    assert!(page.contains("Read-only file system") && page.contains("/var/lib/revenium-agent"), "{page}");
}

#[test]
fn a_user_that_is_missing_is_told_by_systemd() {
    let machine = Machine::new();
    machine.run("userdel revenium");
    let page = page(&machine);
    assert!(page.contains("status=217/USER"), "{page}");
    machine.run("systemd-sysusers revenium-agent.conf && systemd-tmpfiles --create revenium-agent.conf");
    machine.start();
}

#[test]
fn a_group_that_is_missing_is_told_by_systemd_of_the_service_and_of_the_socket() {
    let machine = Machine::new();
    machine.run("sed -i '/^revenium:/d' /etc/group");
    let told = page(&machine);
    assert!(told.contains("status=216/GROUP"), "{told}");
    assert_ne!(machine.sh("systemctl start revenium-agent.socket").code, Some(0));
    let told = machine.sh("systemctl status revenium-agent.socket").out;
    assert!(told.contains("status=216/GROUP"), "{told}");
    // Said by a process that ends at once: the journal may not know any more which unit it was of.
    let told = machine.sh("journalctl --sync; journalctl --boot --no-pager").out;
    assert!(told.contains("Failed to resolve group revenium"), "{told}");
    machine.run("systemd-sysusers revenium-agent.conf; systemctl start revenium-agent.socket revenium-agent");
    let owned = "stat -c '%a %U %G' /run/revenium/agent.sock";
    assert_eq!(machine.run(owned), "660 revenium revenium\n");
}

#[test]
fn a_name_lookup_that_hangs_keeps_the_agent_from_nothing_but_delivering() {
    /// A name server that says nothing, and tells that it was asked.
    const SILENT: &str = "import socket\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.bind(('127.77.0.1', 53))\n\
        while s.recv(4096): open('/run/asked', 'w').close()\n";
    let machine = Machine::new();
    machine.write("/run/silent.py", "0644", SILENT);
    machine.write("/run/resolv.conf", "0644", "nameserver 127.77.0.1\noptions timeout:30 attempts:5\n");
    machine.write("/run/nsswitch.conf", "0644", "passwd: files\ngroup: files\nhosts: dns\n");
    machine.run("for name in resolv nsswitch; do mount --bind /run/$name.conf /etc/$name.conf; done");
    machine.run("systemd-run --quiet --unit=silent python3 /run/silent.py");
    let url = "profiles.default.url = \"https://upstream.example\"\n";
    machine.write("/etc/revenium-agent/conf.d/test.toml", "0644", &format!("{SMALL}{url}"));
    machine.start();
    let mut line = Line::connect(&machine.path("/run/revenium/agent.sock"));
    assert_eq!(line.ask(&completion("m"))["ok"], true);
    machine.run("timeout 60 sh -c 'until [ -e /run/asked ]; do sleep 0.1; done'");
    machine.run("systemctl stop revenium-agent.socket revenium-agent");
    assert_eq!((&*machine.show("Result"), &*machine.show("ExecMainStatus")), ("success", "0"));
    machine.start();
    machine.wait_stored(1);
}
