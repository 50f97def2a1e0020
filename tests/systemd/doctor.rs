//! `doctor` on the machine that our units make: nothing to object to, and what a person broke is found.

use serde_json::Value;

use crate::machine::Machine;

/// What it says to a user, without asking the network.
fn findings(machine: &Machine, user: &str) -> Vec<Value> {
    let as_user = format!("setpriv --reuid {user} --regid {user} --init-groups");
    let ran = machine.sh(&format!("{as_user} revenium-agent doctor --offline --json"));
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("no JSON: {ran:?}"));
    told.as_array().unwrap_or_else(|| panic!("no findings: {told}")).clone()
}

/// The ids of those that do not work.
fn problems(findings: &[Value]) -> Vec<&str> {
    let problems = findings.iter().filter(|finding| finding["level"] == "problem");
    problems.map(|finding| finding["id"].as_str().expect("an id")).collect()
}

#[test]
fn what_our_units_make_has_no_problem_but_for_who_is_no_member() {
    let machine = Machine::new();
    machine.run("useradd app && useradd stranger && usermod -aG revenium app");
    machine.start();
    for user in ["root", "app"] {
        let told = findings(&machine, user);
        assert_eq!(problems(&told), [""; 0], "{user}: {told:?}");
    }
    let told = findings(&machine, "stranger");
    assert_eq!(problems(&told), ["socket.group"], "{told:?}");
}

#[test]
fn a_spool_that_members_cannot_use_and_one_that_is_not_there_are_found() {
    let machine = Machine::new();
    machine.start();
    let spool = || {
        let told = findings(&machine, "root");
        let found = told.into_iter().find(|f| f["id"] == "spool" && f["subject"] == "/var/spool/revenium");
        let found = found.expect("it is looked at");
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        (text("level"), text("cause"), text("next"))
    };
    machine.run("chmod 3777 /var/spool/revenium");
    let (level, cause, next) = spool();
    assert_eq!((&*level, &*next), ("problem", "`chmod 3730 /var/spool/revenium`"), "{cause}");
    assert_eq!(cause, "its mode is 3777, not 3730: members cannot use it");
    machine.run(next.trim_matches('`'));
    assert_eq!(spool().0, "ok");

    machine.run("rm -r /var/spool/revenium");
    let (level, cause, next) = spool();
    assert_eq!((&*level, &*cause), ("warning", "it is not there: senders keep no spool files"));
    let mend = next.strip_suffix(" as root").expect("who may");
    machine.run(mend.trim_matches('`'));
    assert_eq!(spool().0, "ok");
}
