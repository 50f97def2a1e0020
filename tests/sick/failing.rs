//! A disk that fails for a while and is well again, twice, with the agent running all the while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fuser::Errno;

use crate::disk::Lie;
use crate::mount::Mount;
use crate::scene::Scene;
use crate::sick::{How, Sick};
use crate::support::until;

/// Events of each sender: those that are durable and wait when the disk falls sick, and those that come then.
const BEFORE: u64 = 60;
const DURING: u64 = 40;
/// Some of the store's own rounds.
const STILL: Duration = Duration::from_secs(1);

/// Returns once nothing was counted for much longer than anything that is under way takes.
fn wait_still(count: &AtomicU64) {
    let more = || {
        let before = count.load(Ordering::Relaxed);
        thread::sleep(STILL);
        count.load(Ordering::Relaxed) - before
    };
    until("sled rests", more, |more| *more == 0);
}

fn senders_are_refused_and_nothing_else_changes(how: How) {
    let mut scene = Scene::new();
    // Goes before the folder that it is mounted in.
    let mount = Mount::new(&scene.home.path("data"), Lie::None, None);
    let agent = scene.home.start();

    let waiting = scene.store(BEFORE);
    let (sick, changes_of_index) = Sick::but_the_index(how);
    mount.set_sick(Some(sick));
    scene.send(DURING);
    // The second is asked when it is known that no segment can be made. From then on sled writes nothing, once what
    // it was about to write is written, so that it need not be spared.
    (0..2).for_each(|_| assert_eq!(scene.refused(), ["disk", "disk"]));
    wait_still(&changes_of_index);
    mount.set_sick(Some(Sick::all(how)));
    assert_eq!(scene.refused(), ["disk", "disk"]);
    scene.assert_said(&agent);
    scene.gate.open();
    // What was durable is delivered while nothing can be written, not even that it is.
    scene.sandbox.wait_billed(usize::try_from(waiting).expect("few"));
    mount.set_sick(None);
    scene.wait_durable();

    // Wherever it strikes: all comes right by itself, if later.
    mount.set_sick(Some(Sick::all(how)));
    scene.send(DURING);
    scene.refused();
    mount.set_sick(None);
    let refusals = scene.end(agent);
    assert!(refusals["disk"] > 0, "{refusals:?}");
    // What is sealed takes room until its records have moved.
    assert!(refusals.keys().all(|code| code == "disk" || code == "full"), "{refusals:?}");
    eprintln!("{how:?}: refused: {refusals:?}");
}

#[test]
fn a_disk_that_fails_every_write_for_a_while_costs_nothing_and_is_delivered_from() {
    senders_are_refused_and_nothing_else_changes(How::Unchanging(Errno::EIO));
}

#[test]
fn a_disk_that_fails_every_flush_for_a_while_costs_nothing_and_is_delivered_from() {
    senders_are_refused_and_nothing_else_changes(How::Unflushing);
}

#[test]
fn a_disk_that_is_read_only_for_a_while_costs_nothing_and_is_delivered_from() {
    senders_are_refused_and_nothing_else_changes(How::Unchanging(Errno::EROFS));
}
