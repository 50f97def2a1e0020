//! Handing in a spool in which anything may lie.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use revenium_emitter::spool::{Report, hand_in};

use crate::agent::{Agent, Say, event, id_of, spool_files};

const LONG: Duration = Duration::from_secs(60);

fn name(producer: u8, first: u64) -> String {
    format!("{:032x}-{first}.jsonl", u128::from(producer))
}

fn hello(producer: u8) -> String {
    format!("{{\"hello\":{{\"v\":1,\"producer\":\"{:032x}\"}}}}\n", u128::from(producer))
}

fn line(n: u64, id: u64) -> String {
    format!("{{\"n\":{n},\"model\":\"m\",\"id\":{id}}}\n")
}

fn run(agent: &Agent) -> Report {
    hand_in(&agent.spool(), &[agent.socket()], LONG).unwrap()
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

fn without_trouble(report: &Report) -> [u64; 6] {
    assert_eq!(report.trouble, None);
    [report.files, report.events, report.refused, report.bad, report.left, report.skipped]
}

#[test]
fn what_is_not_ours_to_hand_in_is_left_alone_and_the_rest_is_handed_in() {
    let agent = Agent::new(|_| Say::Durable);
    let spool = agent.spool();
    write(&spool, &name(1, 5), &(hello(1) + &line(5, 0) + "\n" + &line(9, 1)));
    write(&spool, "notes.txt", "mine");
    write(&spool, &format!("{}x", name(1, 6)), "odd name");
    symlink(agent.path("target"), spool.join(name(2, 1))).unwrap();
    fs::write(agent.path("target"), hello(2) + &line(1, 77)).unwrap();
    assert!(Command::new("mkfifo").arg(spool.join(name(3, 1))).status().unwrap().success());
    File::create(spool.join(name(4, 1))).unwrap().set_len(2 << 30).unwrap();
    fs::create_dir(spool.join(name(5, 1))).unwrap();
    write(&spool, &name(6, 1), &(hello(6) + &line(1, 78)));
    fs::hard_link(spool.join(name(6, 1)), agent.path("second-name")).unwrap();
    assert_eq!(without_trouble(&run(&agent)), [1, 2, 0, 0, 0, 5]);
    agent.wait_all(2);
    assert_eq!(spool_files(&spool).len(), 5);
    assert_eq!(fs::read_to_string(spool.join("notes.txt")).unwrap(), "mine");
    assert!(!spool.join("bad").exists());
}

#[test]
fn lines_that_no_agent_can_keep_are_put_aside_verbatim_and_the_others_are_durable() {
    let agent =
        Agent::new(|seen| if id_of(seen.line) == 2 { Say::Refuse("too_large") } else { Say::Durable });
    let spool = agent.spool();
    let long = format!("{{\"n\":4,\"id\":0,\"x\":\"{}\"}}\n", "y".repeat(3 << 20));
    let bad =
        ["not json\n", "{\"n\":4,\n", "{\"id\":9}\n", "[1]\n", &long, &line(1, 99), "{\"n\":8,\"cut\":\"o"];
    let text = hello(1)
        + &line(1, 0)
        + bad[0] + bad[1] + bad[2] + bad[3]
        + &line(2, 1)
        + &line(3, 2)
        + bad[4]
        // A number that was used in this file already.
        + bad[5]
        + &line(5, 2).replace("\"id\":2", "\"id\":3")
        + bad[6];
    write(&spool, &name(1, 1), &text);
    // Files without a hello, or with another's, are nobody's.
    write(&spool, &name(2, 1), &line(1, 50));
    write(&spool, &name(3, 1), &(hello(4) + &line(1, 51)));
    write(&spool, &name(5, 1), "");
    let report = run(&agent);
    assert_eq!((report.files, report.events, report.refused, report.left), (4, 3, 1, 0), "{report:?}");
    assert_eq!(agent.ids(), [0, 1, 3]);
    let aside = fs::read_to_string(spool.join("bad").join(name(1, 1))).unwrap();
    let refused = line(3, 2);
    for line in bad.iter().copied().chain([&*refused]) {
        assert!(aside.contains(line), "{}", &line[..line.len().min(40)]);
    }
    assert_eq!(
        aside.len(),
        bad.iter().map(|line| line.len()).sum::<usize>() + refused.len(),
        "and nothing else"
    );
    assert_eq!(fs::read_to_string(spool.join("bad").join(name(2, 1))).unwrap(), line(1, 50));
    assert_eq!(fs::read_to_string(spool.join("bad").join(name(3, 1))).unwrap(), hello(4) + &line(1, 51));
    assert_eq!(spool_files(&spool).len(), 0);
}

#[test]
fn a_file_that_cannot_be_finished_stays_and_is_finished_later() {
    let mut agent = Agent::new(|seen| if seen.count == 5 { Say::HangUp } else { Say::Durable });
    let spool = agent.spool();
    let lines: String = (0..100).map(|id| line(id + 1, id)).collect();
    write(&spool, &name(1, 1), &(hello(1) + &lines));
    let report = run(&agent);
    assert_eq!((report.files, report.events, report.left), (0, 0, 1), "{report:?}");
    assert!(report.trouble.is_some());
    agent.stop();
    let report = run(&agent);
    assert!(report.left == 1 && report.trouble.unwrap().starts_with("no agent at"));
    agent.start();
    assert_eq!(without_trouble(&run(&agent)), [1, 100, 0, 0, 0, 0]);
    agent.wait_all(100);
    assert_eq!(spool_files(&spool).len(), 0);
}

#[test]
fn an_agent_without_room_gets_the_rest_when_it_has_some() {
    let agent = Agent::new(|seen| if seen.count < 300 { Say::Refuse("full") } else { Say::Durable });
    let lines: String = (0..600).map(|id| line(id + 1, id)).collect();
    write(&agent.spool(), &name(1, 1), &(hello(1) + &lines));
    assert_eq!(without_trouble(&run(&agent)), [1, 600, 0, 0, 0, 0]);
    agent.wait_all(600);
}

#[test]
fn a_deadline_ends_it_and_everything_is_still_there() {
    let agent = Agent::new(|_| Say::Nothing);
    write(&agent.spool(), &name(1, 1), &(hello(1) + &line(1, 0)));
    let report = hand_in(&agent.spool(), &[agent.socket()], Duration::from_millis(100)).unwrap();
    assert_eq!((report.left, report.files), (1, 0));
    assert_eq!(spool_files(&agent.spool()).len(), 1);
}

#[test]
fn many_at_once_hand_each_file_in_once() {
    let agent = Agent::new(|_| Say::Durable);
    for producer in 1..=20 {
        let lines: String = (0..20).map(|i| line(i + 1, u64::from(producer - 1) * 20 + i)).collect();
        write(&agent.spool(), &name(producer, 1), &(hello(producer) + &lines));
    }
    let events: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| run(&agent).events)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    agent.wait_all(400);
    assert_eq!((events, agent.repeated()), (400, 0));
}

#[test]
fn what_dead_writers_left_unfinished_goes_after_a_day() {
    let agent = Agent::new(|_| Say::Durable);
    let spool = agent.spool();
    for (name, hours) in
        [(format!(".{}", name(1, 1)), 25), (format!(".{}", name(2, 1)), 1), (".profile".into(), 99)]
    {
        write(&spool, &name, "half a li");
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        File::options().write(true).open(spool.join(name)).unwrap().set_modified(then).unwrap();
    }
    assert_eq!(without_trouble(&run(&agent)), [0; 6]);
    let mut left: Vec<_> = fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [format!(".{}", name(2, 1)), ".profile".into()].map(std::ffi::OsString::from));
}

#[test]
fn a_spool_that_is_not_there_is_empty_and_one_that_is_no_folder_an_error() {
    let agent = Agent::new(|_| Say::Durable);
    assert_eq!(without_trouble(&run(&agent)), [0; 6]);
    fs::write(agent.spool(), "").unwrap();
    assert!(hand_in(&agent.spool(), &[agent.socket()], LONG).is_err());
}

#[test]
fn an_emitter_hands_in_what_lies_there_while_it_goes_on() {
    let agent = Agent::new(|_| Say::Durable);
    let lines: String = (100..200).map(|id| line(id, id)).collect();
    write(&agent.spool(), &name(1, 100), &(hello(1) + &lines));
    let emitter = agent.builder().build();
    for id in 0..100 {
        emitter.emit(event(id));
    }
    agent.wait_all(200);
    drop(emitter);
    assert_eq!(spool_files(&agent.spool()).len(), 0);
}
