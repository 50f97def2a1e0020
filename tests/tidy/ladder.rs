//! The ladder of crates: who may know whom, and who may know which library. ARCHITECTURE.md draws
//! it; this holds it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{none, tree};

/// A crate of ours: its rank, its folder, and the crates of ours that it may know.
struct Rung {
    rank: u8,
    folder: &'static str,
    may_know: &'static [&'static str],
}

fn ladder() -> BTreeMap<&'static str, Rung> {
    let rungs = [
        (
            "revenium-agent",
            3,
            "",
            // The middleware for tests alone.
            &[
                "revenium-event",
                "revenium-store",
                "revenium-anthropic",
                "revenium-emitter",
                "revenium-middleware",
            ][..],
        ),
        ("revenium-middleware", 2, "src/middleware", &["revenium-emitter", "revenium-anthropic"]),
        ("revenium-emitter", 1, "src/emitter", &["revenium-event"]),
        ("revenium-store", 1, "src/store", &["revenium-migrations"]),
        ("revenium-anthropic", 1, "src/anthropic", &["revenium-event"]),
        ("revenium-event", 0, "src/event", &[]),
        ("revenium-migrations", 0, "migrations", &[]),
    ];
    let rung = |(name, rank, folder, may_know)| (name, Rung { rank, folder, may_know });
    rungs.into_iter().map(rung).collect()
}

/// Libraries that only some of our crates may depend on, and why.
const KEPT_IN: [(&str, &[&str], &str); 10] = [
    ("sled", &["revenium-store", "revenium-migrations"], "no money may depend on it"),
    ("bincode", &["revenium-migrations"], "unmaintained: only frozen formats need it"),
    ("backoff", &["revenium-agent"], "unmaintained: one small module wraps it"),
    ("prometheus", &["revenium-agent"], "metrics are the agent's"),
    (
        "zstd",
        &["revenium-store", "revenium-agent"],
        "compression is the log's, and of what passes the gateway",
    ),
    ("reqwest", &["revenium-agent", "revenium-middleware"], "only these speak HTTP to others"),
    ("hyper", &["revenium-agent"], "only the agent listens for HTTP"),
    ("tokio", &["revenium-agent", "revenium-middleware", "revenium-store"], "the others are synchronous"),
    ("rustix", &["revenium-agent", "revenium-store", "revenium-emitter"], "the others touch no system"),
    ("libc", &["revenium-agent"], "only for what rustix lacks"),
];

/// Which part of a crate may name a library: (library, where, and where it stays).
const NAMED_IN: [(&str, &[&str]); 8] = [
    ("zstd", &["src/store/", "src/agent/gateway/decode.rs"]),
    ("sled", &["src/store/index/", "migrations/"]),
    ("bincode", &["migrations/"]),
    // The crate has the same name as the drain's own module.
    ("backoff::ExponentialBackoff", &["src/agent/drain/backoff.rs"]),
    ("use backoff", &["src/agent/drain/backoff.rs"]),
    ("prometheus", &["src/agent/metrics/"]),
    // The configuration takes its `Url`, so that both read a URL alike.
    ("reqwest", &["src/agent/upstream/", "src/middleware/", "src/agent/config/url.rs"]),
    (
        "hyper",
        &[
            "src/agent/admin/",
            "src/agent/sandbox/",
            "src/agent/web/",
            "src/agent/relay/",
            "src/agent/gateway/",
        ],
    ),
];

/// A manifest's name, and its dependencies, normal ones first.
struct Manifest {
    file: String,
    package: String,
    normal: BTreeSet<String>,
    for_tests: BTreeSet<String>,
}

fn manifests() -> Vec<Manifest> {
    // Nothing stands on `fuzz`, which is a workspace of its own: it may know all of them.
    let is_ours = |name: &String| name.ends_with("Cargo.toml") && !name.starts_with("fuzz/");
    let files = tree::files(&["toml"]).into_iter().filter(is_ours);
    files.map(manifest).collect()
}

fn manifest(file: String) -> Manifest {
    let toml: toml::Table = toml::from_str(&tree::read(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let names = |table: Option<&toml::Value>, into: &mut BTreeSet<String>| {
        for (name, how) in table.and_then(toml::Value::as_table).into_iter().flatten() {
            let real = how.get("package").and_then(toml::Value::as_str).unwrap_or(name);
            into.insert(real.to_owned());
        }
    };
    let (mut normal, mut for_tests) = (BTreeSet::new(), BTreeSet::new());
    let targets = toml.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flatten().filter_map(|(_, table)| table.as_table());
    for table in tables.chain([&toml]) {
        names(table.get("dependencies"), &mut normal);
        names(table.get("build-dependencies"), &mut normal);
        names(table.get("dev-dependencies"), &mut for_tests);
    }
    let package = toml["package"]["name"].as_str().expect("a name").to_owned();
    Manifest { file, package, normal, for_tests }
}

#[test]
fn no_crate_knows_one_of_its_own_rank_or_above() {
    let ladder = ladder();
    let mut found = Vec::new();
    for Manifest { file, package, normal, for_tests } in manifests() {
        let Some(rung) = ladder.get(package.as_str()) else {
            found.push(format!(
                "{file}: {package} has no rung: give it one in the ladder, and in ARCHITECTURE.md"
            ));
            continue;
        };
        let place =
            if rung.folder.is_empty() { "Cargo.toml".into() } else { format!("{}/Cargo.toml", rung.folder) };
        if file != place {
            found.push(format!("{file}: {package} belongs into {place}"));
        }
        for known in normal.union(&for_tests).filter(|name| name.starts_with("revenium-")) {
            let lower = ladder.get(known.as_str()).is_some_and(|other| other.rank < rung.rank);
            if !lower || !rung.may_know.contains(&known.as_str()) {
                found.push(format!("{file}: {package} must not know {known}"));
            }
        }
    }
    none(&found, "the ladder of crates is broken");
}

#[test]
fn the_table_of_the_ladder_climbs() {
    let ladder = ladder();
    for (name, rung) in &ladder {
        for known in rung.may_know {
            assert!(ladder[known].rank < rung.rank, "{name} may not be allowed to know {known}");
        }
    }
}

#[test]
fn libraries_stay_in_the_crates_that_they_were_taken_for() {
    let mut found = Vec::new();
    for Manifest { file, package, normal, for_tests } in manifests() {
        for (library, crates, why) in KEPT_IN {
            // A test may bring a runtime; what is unmaintained stays where it is even in tests.
            let strict = ["sled", "bincode", "backoff"].contains(&library);
            let depends = normal.contains(library) || (strict && for_tests.contains(library));
            if depends && !crates.contains(&package.as_str()) {
                found.push(format!("{file}: {package} must not depend on {library}: {why}"));
            }
        }
    }
    none(&found, "a library is used outside of the crates that may");
}

#[test]
fn libraries_are_named_only_in_the_modules_that_wrap_them() {
    let mut found = Vec::new();
    for source in tree::sources().iter().filter(|source| !source.is_test()) {
        for (library, places) in NAMED_IN {
            if places.iter().any(|place| source.name.starts_with(place)) {
                continue;
            }
            for line in source.lines_with(library) {
                found.push(format!("{}:{line}: {library} is for {} only", source.name, places.join(", ")));
            }
        }
    }
    none(&found, "a library is named outside of the module that wraps it");
}

#[test]
fn the_crates_that_only_compute_do_nothing_else() {
    let effects = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant",
        "println",
    ];
    let mut found = Vec::new();
    let pure = ["src/event/", "src/anthropic/"];
    let is_pure = |name: &str| pure.iter().any(|folder| name.starts_with(folder));
    for source in tree::sources().iter().filter(|s| is_pure(&s.name) && !s.is_test()) {
        for effect in effects {
            for line in source.lines_with(effect) {
                found.push(format!("{}:{line}: {effect}", source.name));
            }
        }
    }
    none(&found, "these crates are pure: times and randomness are arguments, such as `Minted`");
}
