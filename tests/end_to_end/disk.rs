//! A disk that fills up while events come in, and has room again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Home, Line, Sandbox, completion, until, unused_address};

/// A small file system of its own; gone with this value.
struct Disk {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn mount(mib: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("disk");
        std::fs::create_dir(&path).expect("made");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0755"), "tmpfs"])
            .arg(&path)
            .output()
            .expect("mount is installed");
        assert!(
            mount.status.success(),
            "this test mounts a small tmpfs, which needs root (CAP_SYS_ADMIN): run the tests as root. mount said: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        Self { path, _dir: dir }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a process with a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_refuses_events_and_room_lets_them_in_again() {
    let disk = Disk::mount(96);
    let home = Home::new();
    let address = unused_address();
    let data = disk.path().join("data");
    home.deliver_to_url(
        &format!("http://{address}"),
        "store.capacity_bytes = \"1GiB\"\nstore.free_reserve_bytes = \"4MiB\"\n",
    );
    home.write(
        "config.toml",
        &std::fs::read_to_string(home.path("config.toml"))
            .expect("read")
            .replace("data_dir = \"data\"", &format!("data_dir = \"{}\"", data.display())),
    );
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    let mut acknowledged = 0;
    // Large ones until no more fit, then smaller ones into what is left of the last segment.
    for filler_bytes in [256 << 10, 4 << 10, 0] {
        let refused = loop {
            let answer = line.ask(&event(acknowledged, filler_bytes));
            if answer["ok"] != true {
                break answer;
            }
            acknowledged += 1;
            assert!(acknowledged < 100_000, "a disk of 96 MiB takes no more than that");
        };
        assert_eq!(refused["code"], "full", "{refused}");
    }
    assert!(acknowledged > 50, "{acknowledged}");
    let full =
        home.wait_status("the index has them", |status| status["profiles"][0]["waiting"] == acknowledged);
    assert_eq!(agent.metric("revenium_agent_events_rejected_total{reason=\"full\"}"), 3.0);
    assert_eq!((&full["lost"], &full["health"]), (&0.into(), &"failing".into()), "{full}");

    let sandbox: Sandbox = home.sandbox_on(&address, &["--transaction-window", "off"]);
    // Delivery makes room, on a disk that has none.
    let answer = until("room again", || line.ask(&completion("after")), |answer| answer["ok"] == true);
    assert!(answer["id"].is_string());
    let status = home.wait_drained();
    assert_eq!(status["profiles"][0]["delivered"], acknowledged + 1, "{status}");
    sandbox.wait_billed(usize::try_from(acknowledged + 1).expect("few"));
    assert_eq!((&status["lost"], &status["refusing"]), (&0.into(), &serde_json::Value::Null), "{status}");
    assert_eq!(agent.stop().code, Some(0));
}

/// An event with so many bytes that compress badly.
pub(crate) fn event(number: u64, filler_bytes: usize) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < filler_bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    completion("filler").replace('{', &format!("{{\"filler\":\"{text}\","))
}
