//! The files of a release: the same twice, as their sums say, and nothing that lintian objects to.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{BINARY, printed, run};

/// The oldest glibc that the support table of the README names.
const GLIBC: (u32, u32) = (2, 34);

fn release(output: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/release.sh");
    printed(Command::new(script).args(["--binary", BINARY, "--fast", "--output"]).arg(output))
}

#[test]
fn a_release_has_sums_that_fit_is_the_same_twice_and_lintian_has_nothing_to_object_to() {
    let (dir, again) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let sums = release(dir.path());
    assert_eq!(sums, release(again.path()), "the same input gives the same bytes");
    let checked = printed(Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(dir.path()));
    let version = env!("CARGO_PKG_VERSION");
    let package = format!("revenium-agent_{version}-1_amd64.deb");
    let name = format!("revenium-agent-{version}-x86_64-linux-gnu");
    assert_eq!(checked, format!("{package}: OK\n{name}.tar.gz: OK\n"));

    let linted = printed(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning", &package])
            .current_dir(dir.path()),
    );
    assert_eq!(linted, "");

    printed(Command::new("tar").args(["-xzf", &format!("{name}.tar.gz")]).current_dir(dir.path()));
    let binary = dir.path().join(&name).join("revenium-agent");
    assert_eq!(printed(Command::new(binary).arg("--version")), format!("revenium-agent {version}\n"));
    for file in ["LICENSE", "README.md", "man/revenium-agent.1", "completions/bash", "ops/runbook.md"] {
        assert!(dir.path().join(&name).join(file).is_file(), "{file}");
    }
}

#[test]
fn the_packages_changelog_is_of_this_version() {
    let changelog = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/deb/changelog");
    let changelog = fs::read_to_string(changelog).expect("a changelog");
    let begins = format!("revenium-agent ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&begins), "ops/deb/changelog does not begin with {begins}");
}

#[test]
fn the_program_needs_glibc_and_nothing_else_and_none_newer_than_is_said() {
    let headers = printed(Command::new("readelf").args(["--dynamic", "--wide", BINARY]));
    let needed: Vec<&str> = headers
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    assert!(needed.contains(&"libc.so.6"), "{headers}");
    let known = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
    assert!(needed.iter().all(|library| known.contains(library)), "{needed:?}");
    let symbols = printed(Command::new("readelf").args(["--dyn-syms", "--wide", BINARY]));
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let mut parts = rest.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        Some((parts.next()?, parts.next()?))
    });
    assert_eq!(versions.max(), Some(GLIBC));
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let said = format!("glibc {}.{} or later", GLIBC.0, GLIBC.1);
    assert!(readme.expect("a README").contains(&said), "the README does not say: {said}");
}

/// A program that needs a library of this name, with a symbol of this version.
fn program(dir: &Path, library: &str, version: &str) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("written");
    write("library.c", "int other(void) { return 0; }");
    write("program.c", "int other(void); int main(void) { return other(); }");
    write("versions", &format!("{version} {{ other; }};"));
    let cc = |args: &[&str]| printed(Command::new("cc").args(args).current_dir(dir));
    let name = format!("-Wl,-soname,{library}");
    cc(&["-shared", "-o", "library.so", "library.c", &name, "-Wl,--version-script=versions"]);
    cc(&["-o", "program", "program.c", "library.so"]);
}

#[test]
fn a_binary_that_needs_another_library_or_a_newer_glibc_is_not_released() {
    for (library, version, words) in [
        ("libother.so.1", "OTHER_1", "is not released: it needs libother.so.1, and may need libc, libm,"),
        ("libm.so.6", "GLIBC_2.35", "is not released: it needs GLIBC_2.35, and may need glibc 2.34 or older"),
        // Not by the letters.
        ("libm.so.6", "GLIBC_2.100", "is not released: it needs GLIBC_2.100, and may need"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        program(dir.path(), library, version);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/release.sh");
        let mut script = Command::new(script);
        script.arg("--binary").arg(dir.path().join("program")).arg("--output").arg(dir.path().join("dist"));
        let ended = run(&mut script);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{library} {version}: {said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(fs::read_dir(dir.path().join("dist")).expect("made").count(), 0, "nothing is packed");
    }
}

#[test]
fn a_wrong_command_line_of_the_script_is_told() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/release.sh");
    let ended = run(Command::new(script).arg("--fly"));
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with("usage: ops/release.sh [--binary FILE]"));
}
