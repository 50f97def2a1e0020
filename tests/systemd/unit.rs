//! The unit: what systemd thinks of it, what it really keeps the agent from, who may send.

use crate::machine::{BY_HAND, Machine, installing};
use crate::support::until;

/// What `systemd-analyze security` may say, times ten. 1.4 was reached: the rest is what the agent lives on
/// (the network, other hosts, who its senders are).
const EXPOSURE_MAX: &str = "18";

#[test]
fn the_pages_commands_make_a_service() {
    let machine = Machine::new();
    let said = machine.run(&installing(BY_HAND).1);
    assert!(said.contains("Active: active (running)") && said.contains("Status: \"0 waiting; "), "{said}");
    let enabled =
        machine.run("systemctl is-enabled revenium-agent.socket revenium-agent-key.path revenium-agent");
    assert_eq!(enabled, "enabled\nenabled\nenabled\n");
}

#[test]
fn systemd_has_nothing_to_object_to_in_our_units() {
    let machine = Machine::new();
    let units = machine.run("ls /usr/lib/systemd/system/revenium-agent*").replace('\n', " ");
    assert_eq!(units.split_whitespace().count(), 7, "{units}");
    let said = machine.run(&format!("systemd-analyze verify --recursive-errors=yes {units}"));
    assert_eq!(said, "", "it has nothing to say");
    let gateway = "/usr/lib/systemd/system/revenium-agent-gateway.service";
    let unit = "/usr/lib/systemd/system/revenium-agent.service";
    for unit in [gateway, unit] {
        machine.run(&format!("systemd-analyze security --offline=true --threshold={EXPOSURE_MAX} {unit}"));
    }
    // It does object where there is something.
    let broken = machine.sh(&format!(
        "cp {unit} /run/x.service; echo Colour=red >> /run/x.service; echo '[Service]' >> /run/x.service
         systemd-analyze verify --recursive-errors=yes /run/x.service"
    ));
    assert_eq!(broken.code, Some(1), "{}", broken.out);
}

#[test]
fn the_running_agent_has_no_rights_and_writes_nowhere_but_where_it_must() {
    let machine = Machine::new();
    machine.start();
    let pid = machine.show("MainPID");
    let status = machine.run(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in\n{status}")).trim().to_owned()
    };
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    let uid = machine.run("id -u revenium").trim().to_owned();
    assert_eq!(field("Uid"), format!("{uid}\t{uid}\t{uid}\t{uid}"));

    // As root, but with the file systems as the agent sees them: nobody else could even try.
    let touch = |place: &str| machine.sh(&format!("nsenter -t {pid} -m touch {place}/touched"));
    for place in ["/usr", "/etc/revenium-agent", "/var/log", "/boot", "/sys"] {
        let touched = touch(place);
        assert!(touched.out.contains("Read-only file system"), "{place}: {}", touched.out);
    }
    for place in ["/var/lib/revenium-agent", "/run/revenium", "/var/spool/revenium"] {
        assert_eq!(touch(place).code, Some(0), "{place}");
    }
    let home = machine.sh(&format!("nsenter -t {pid} -m ls -A /root /home"));
    assert_eq!(home.out.trim(), "/home:\n\n/root:", "homes look empty");

    let modes = "stat -c '%a %U %G %n' /run/revenium /run/revenium/agent.sock /var/lib/revenium-agent \
                 /var/lib/revenium-agent/control.sock /var/spool/revenium";
    assert_eq!(
        machine.run(modes),
        "755 revenium revenium /run/revenium\n660 revenium revenium /run/revenium/agent.sock\n\
         700 revenium revenium /var/lib/revenium-agent\n600 revenium revenium /var/lib/revenium-agent/control.sock\n\
         3730 revenium revenium /var/spool/revenium\n"
    );
}

#[test]
fn a_member_of_the_group_sends_and_spools_and_anybody_else_is_told_what_to_join() {
    let machine = Machine::new();
    machine.run("useradd app && useradd stranger && usermod -aG revenium app");
    machine.start();
    let send = |user: &str| {
        machine.sh(&format!(
            "setpriv --reuid {user} --regid {user} --init-groups revenium-agent send --model m --provider p \
             --input-tokens 1 --output-tokens 1 --timeout 20s"
        ))
    };
    let sent = send("app");
    assert_eq!((sent.code, sent.out.as_str()), (Some(0), "durable: 1 event\n"));
    let sent = send("stranger");
    assert_eq!(sent.code, Some(3), "{}", sent.out);
    assert!(sent.out.contains("`usermod -aG revenium stranger`"), "{}", sent.out);

    machine.run("systemctl stop revenium-agent");
    let producer = "00000000000000000000000000000007";
    let file = format!("/var/spool/revenium/{producer}-1.jsonl");
    let spool = format!(
        "printf '%s\\n' '{{\"hello\":{{\"v\":1,\"producer\":\"{producer}\"}}}}' \
         '{{\"n\":1,\"model\":\"m\",\"provider\":\"p\",\"inputTokenCount\":1,\"outputTokenCount\":1}}' > {file}"
    );
    machine.write("/run/spool.sh", "0755", &spool);
    machine.run("setpriv --reuid app --regid app --init-groups sh /run/spool.sh");
    let refused = machine.sh("setpriv --reuid stranger --regid stranger --init-groups sh /run/spool.sh");
    assert!(refused.out.contains("Permission denied"), "{}", refused.out);
    machine.start();
    machine.wait_stored(2);
    until("the file is gone", || machine.sh(&format!("test -e {file}")).code, |code| *code == Some(1));
}
