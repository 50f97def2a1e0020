//! A machine that is not as it should be: the service does not start, and its page says why.

use crate::machine::Machine;

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
