//! Every frozen format has bytes of its own, and a test that reads them.

use crate::{none, tree};

#[test]
fn every_migration_has_a_fixture_and_a_test_that_reads_it() {
    let lib = tree::read("migrations/lib.rs");
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod ")))
        .filter_map(|rest| rest.strip_suffix(';'))
        .collect();
    assert!(modules.contains(&"log_v1"), "the modules of migrations/lib.rs were not found");
    let mut found = Vec::new();
    for module in modules {
        let fixture = format!("fixtures/{module}.bin");
        let bytes =
            std::fs::metadata(tree::root().join("migrations").join(&fixture)).map_or(0, |meta| meta.len());
        if bytes == 0 {
            found.push(format!("migrations/{fixture} is missing: bytes as this format's writer left them"));
        }
        let test = format!("migrations/tests/{module}.rs");
        let text = std::fs::read_to_string(tree::root().join(&test)).unwrap_or_default();
        if !text.contains(&format!("\"{fixture}\"")) || !text.contains("IF THIS TEST FAILS") {
            found.push(format!("{test} must read {fixture}, and say what to do IF THIS TEST FAILS"));
        }
    }
    none(&found, "a released format stays readable for ever");
}
