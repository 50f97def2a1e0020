//! Every bad input, with its place and what would be right.

use super::*;

#[test]
fn several_problems_are_listed_one_a_line() {
    let error = load("[drain]\nbackoff_max = 3\n[socket]\nmode = 3", &[]).expect_err("two problems");
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "2 problems"), "{text}");
    assert!(lines[1].contains("socket.mode: ") && lines[2].contains("drain.backoff_max: "), "{text}");
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_would_be_right() {
    for (toml, problem) in [
        ("drian.backoff_max = \"60s\"", "1: drian.backoff_max: unknown key; did you mean drain.backoff_max?"),
        (
            "[drain]\n\nbackof_max = \"60s\"",
            "3: drain.backof_max: unknown key; did you mean drain.backoff_max?",
        ),
        ("colour = 1", "1: colour: unknown key"),
        ("[colours]", "1: colours: unknown key"),
        (
            "[profiles.x]\nurll = \"https://h\"",
            "2: profiles.x.urll: unknown key; did you mean profiles.x.url?",
        ),
        ("profiles = 3", "1: profiles: unknown key"),
        (
            "[drain]\nbackoff_max = \"soon\"",
            "2: drain.backoff_max: \"soon\" is not a duration such as \"60s\", \"5m\" or \"2h\"",
        ),
        ("[drain]\nbackoff_max = 60", "2: drain.backoff_max: is not a duration in quotes such as \"60s\""),
        ("[drain]\nbackoff_max = \"1d\"", "2: drain.backoff_max: is outside 1s to 1h"),
        ("[drain]\nrequests_per_second_max = -1", "2: drain.requests_per_second_max: is outside 0 to 100000"),
        ("[drain]\nrequests_per_second_max = 1.5", "2: drain.requests_per_second_max: is not a whole number"),
        (
            "[drain]\nproxy = \"proxy:3128\"",
            "2: drain.proxy: \"proxy:3128\" is not a URL such as \"http://proxy:3128\"",
        ),
        (
            "[store]\ncapacity_bytes = \"10 gigs\"",
            "2: store.capacity_bytes: \"10 gigs\" is not a size such as 1048576, \"64MiB\" or \"10GiB\"",
        ),
        (
            "[store]\ncapacity_bytes = \"128MiB\"",
            "2: store.capacity_bytes: 128MiB is less than four segments of 64MiB (store.segment_bytes)",
        ),
        (
            "[store]\nprofile_capacity_bytes = \"11GiB\"",
            "2: store.profile_capacity_bytes: is more than store.capacity_bytes",
        ),
        ("[store]\nsegment_bytes = -4", "2: store.segment_bytes: cannot be negative"),
        ("[socket]\nmode = 660", "2: socket.mode: is not a file mode in quotes such as \"0660\""),
        ("[socket]\nallow_uids = [\"root\"]", "2: socket.allow_uids: holds what is not a numeric id"),
        ("[socket]\nallow_uids = 0", "2: socket.allow_uids: is not a list such as [1000, 1001]"),
        (
            "[socket]\npath = \"~/agent.sock\"",
            "2: socket.path: \"~/agent.sock\": \"~\" is not expanded here: write it out",
        ),
        (
            "[admin]\nlisten = \"8792\"",
            "2: admin.listen: \"8792\" is not an address such as \"127.0.0.1:8792\"; \"\" is off",
        ),
        ("[logging]\nformat = \"xml\"", "2: logging.format: \"xml\" is none of: text, json, journald"),
        (
            "[profiles.default]\nurl = \"api.revenium.ai\"",
            "2: profiles.default.url: \"api.revenium.ai\" is not a URL such as \"https://api.revenium.ai\"",
        ),
        (
            "[profiles.default]\nurl = \"http://revenium.example\"",
            "2: profiles.default.url: would send the API key unencrypted: use https, or set allow_plain_http = true in this profile",
        ),
        (
            "[profiles.default]\nurl = \"http://localhost:8792/meter\"",
            "2: profiles.default.url: http://localhost:8792/meter is this agent's own admin.listen (127.0.0.1:8792)",
        ),
        (
            "[profiles.default]\napi_key = \"sk-ant-0123\"",
            "2: profiles.default.api_key: the key does not begin with \"hak_\" or \"rev_\", as Revenium's keys do",
        ),
        ("[profiles.default]\napi_key = \"\"", "2: profiles.default.api_key: the key is empty"),
        (
            "[profiles.default]\ncredential = \"key\"",
            "2: profiles.default.credential: $CREDENTIALS_DIRECTORY is not set: the unit needs LoadCredential=key:…",
        ),
        (
            "[profiles.default]\ncredential = \"../key\"",
            "2: profiles.default.credential: is not the name of a systemd credential",
        ),
        (
            "[profiles.default]\napi_key_file = \"rev_mk_0123\"",
            "2: profiles.default.api_key_file: is a key where the path of a file is asked for",
        ),
        ("[profiles.default\n", "1: is not TOML: "),
        ("a = 1\na = 2", "2: is not TOML: duplicate key"),
    ] {
        let problems = refused(toml, &[]);
        let matches = |found: &String| {
            if problem.ends_with(": ") { found.starts_with(problem) } else { found == problem }
        };
        assert!(
            problems.len() == 1 && problems.iter().all(matches),
            "{toml}\nexpected {problem}\nfound    {problems:#?}"
        );
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let toml = "[drain]\nbackoff_max = \"x\"\ncolour = 1\n[socket]\nmode = \"x\"\n";
    assert_eq!(
        refused(toml, &[("REVENIUM_LOG_LEVEL", "loud")]),
        [
            "5: socket.mode: \"x\" is not a file mode such as \"0660\"",
            "2: drain.backoff_max: \"x\" is not a duration such as \"60s\", \"5m\" or \"2h\"",
            "$REVENIUM_LOG_LEVEL: logging.level: \"loud\" is none of: trace, debug, info, warn, error, warning, critical",
            "3: drain.colour: unknown key",
        ]
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let dir = Dir::new();
    let error = Config::load(&dir.flags(), &around(&[])).expect_err("is not there").to_string();
    let path = dir.path("config.toml");
    assert_eq!(error, format!("{}: cannot read: No such file or directory (os error 2)", path.display()));
    for name in ["key", "ca.pem"] {
        dir.write(
            "config.toml",
            &format!("[profiles.default]\napi_key_file = \"{name}\"\n[drain]\nca_file = \"{name}\""),
        );
        let error = Config::load(&dir.flags(), &around(&[])).expect_err("is not there").to_string();
        assert_eq!(error.matches("No such file or directory").count(), 2, "{error}");
    }
}

#[test]
fn a_socket_path_that_the_kernel_would_refuse_is_refused_first() {
    let long = format!("/{}", "x".repeat(107));
    let problems = refused(&format!("[socket]\npath = \"{long}\""), &[]);
    assert_eq!(problems, [format!("2: socket.path: {long} has 108 bytes; a socket's path has at most 107")]);
    let problems = refused(&format!("data_dir = \"{}\"", &long[..100]), &[]);
    assert!(problems[0].contains("/control.sock has 113 bytes"), "{problems:?}");
}
