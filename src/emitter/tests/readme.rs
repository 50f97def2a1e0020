//! What the README says of this crate.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_tree_in_the_readme_is_the_tree() {
    let readme = include_str!("../README.md");
    let block = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the tree");
    let shown: BTreeSet<&str> = block
        .lines()
        .map(|line| line.trim_start_matches(['│', '├', '└', '─', ' ', '\u{a0}']))
        .map(name)
        .collect();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "tree",
        "--locked",
        "--offline",
        "-p",
        "revenium-emitter",
        "-e",
        "normal",
        "--prefix",
        "none",
    ]);
    let output =
        cargo.arg("--all-features").current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let real: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).map(name).collect();
    assert_eq!(shown, real, "cargo tree -p revenium-emitter -e normal");
}

/// The first word.
fn name(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}
