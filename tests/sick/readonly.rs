//! The kernel makes the file system read-only under the running agent, as ext4 does once it meets damage.
//!
//! Only unmounting it ends that, so the agent is stopped and started. (What it does when such a file system can
//! be written again without that, `failing` shows.)

use revenium_agent::sandbox::What;

use crate::device::Device;
use crate::scene::Scene;
use crate::support::until;

#[test]
fn a_file_system_that_the_kernel_makes_read_only_refuses_senders_and_is_delivered_from() {
    let mut scene = Scene::new();
    let Some(mut device) = Device::mount(&scene.home.path("image"), &scene.home.path("data")) else { return };
    let agent = scene.home.start();
    let waiting = scene.store(60);
    device.fail();
    scene.send(40);
    assert_eq!(scene.refused(), ["disk", "disk"]);
    scene.assert_said(&agent);
    scene.gate.open();
    // Unless sled was about to write just then: there is no index until it can.
    let how = until(
        "all are delivered, or the index is gone",
        || (scene.sandbox.count(What::Billed), scene.home.status()["waiting_for"].to_string()),
        |(billed, waiting_for)| *billed as u64 == waiting || waiting_for.contains("index"),
    );
    eprintln!("delivered from a read-only file system, index: {how:?}");
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    device.mend();
    // No end could be written down: they are sent again, under the same keys.
    let agent = scene.home.start();
    let refusals = scene.end(agent);
    assert!(refusals["disk"] > 0, "{refusals:?}");
}
