//! A file system that a process serves from over the network.

use std::fs;

use crate::disk::Lie;
use crate::mount::Mount;
use crate::support::Home;

#[test]
fn what_a_process_serves_from_over_the_network_is_recognised() {
    let home = Home::new();
    fs::create_dir(home.path("data")).expect("made");
    let _mount = Mount::new(&home.path("data"), Lie::None, Some("sshfs"));
    let told = home.run(&["check"]);
    let expected = "durability: weaker: sshfs is on the network: its server decides what a flush is worth";
    assert!(told.stdout.contains(expected), "{}{}", told.stdout, told.stderr);
}
