//! What systemd's store of descriptors (`FDSTORE=1`) is worth: found out, and held, so that what the
//! pages say of it stays true.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::machine::Machine;
use crate::support::until;

#[test]
fn bytes_of_a_dead_sender_outlive_their_reader_in_the_store_only_if_it_does_not_look_at_hangups() {
    let machine = Machine::new();
    machine.write("/run/stored.py", "0755", READER);
    let reads = |name: &str, poll: &str| {
        let unit = format!(
            "[Service]\nType=notify\nNotifyAccess=main\nFileDescriptorStoreMax=8\nRestart=always\nRestartSec=1s\n\
             ExecStart=/usr/bin/python3 /run/stored.py {name} {poll}\n"
        );
        machine.write(&format!("/run/systemd/system/{name}.service"), "0644", &unit);
        machine.run(&format!("systemctl daemon-reload; systemctl start {name}"));
        let mut sender = UnixStream::connect(machine.path(&format!("/run/{name}.sock"))).expect("listens");
        sender.write_all(b"left behind").expect("taken");
        let stored = || machine.run(&format!("systemctl show {name} -p NFileDescriptorStore --value"));
        let log = format!("/run/{name}.log");
        until("it is stored", || machine.sh(&format!("cat {log}")).out, |log| log.contains("stored"));
        drop(sender);
        if poll == "poll" {
            until("the store sees the hangup", stored, |count| count == "0\n");
        } else {
            assert_eq!(stored(), "1\n");
        }
        machine.run(&format!("systemctl kill --signal KILL {name}"));
        until("it is back", || machine.sh(&format!("cat {log}")).out, |log| log.contains("began again"))
    };
    assert!(reads("blind", "nopoll").contains("read left behind"));
    assert!(!reads("seeing", "poll").contains("read"));
}

/// Accepts one connection, stores it, and reads nothing of it until it is started again.
const READER: &str = r#"
import array, os, socket, sys, time
name, poll = sys.argv[1:]
def say(text):
    with open(f'/run/{name}.log', 'a') as log:
        log.write(text + '\n')
def notify(text, fds=()):
    to = os.environ['NOTIFY_SOCKET']
    to = '\0' + to[1:] if to[0] == '@' else to
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendmsg([text.encode()], ancillary, 0, to)
path = f'/run/{name}.sock'
if os.path.exists(path):
    if int(os.environ.get('LISTEN_FDS', 0)):
        say('read ' + socket.socket(fileno=3).recv(100).decode())
    say('began again')
    notify('READY=1')
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    notify('READY=1')
    connection = listener.accept()[0]
    notify('FDSTORE=1\nFDNAME=connection' + ('\nFDPOLL=0' if poll == 'nopoll' else ''), [connection.fileno()])
    say('stored')
time.sleep(1000)
"#;
