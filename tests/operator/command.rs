//! Commands that come back: what they print and how they exit.

use crate::support::{Home, KEY, OTHER_KEY, assert_no_secret};

#[test]
fn check_prints_every_value_with_its_source_and_masks_keys() {
    let home = Home::new();
    home.configure("profiles.team.api_key = \"hak_9876543210zyxwvutsrq\"\n");
    let ended = home.run(&["check", "--admin", ""]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let line = |key: &str| {
        let line = ended.stdout.lines().find(|line| line.split(' ').next() == Some(key)).expect(key);
        line.strip_prefix(key).expect(key).trim().to_owned()
    };
    let config = home.path("config.toml").display().to_string();
    assert_eq!(line("data_dir"), format!("{}  ({config}:1)", home.path("data").display()));
    assert_eq!(line("admin.listen"), "off  (--admin)");
    assert_eq!(line("drain.backoff_max"), "1m  (default)");
    let key = home.path("key");
    assert_eq!(
        line("profiles.default.api_key_file"),
        format!("{} holding rev_mk_…ghij  ({config}:4)", key.display())
    );
    assert_eq!(line("profiles.team.api_key"), format!("hak_…tsrq  ({config}:5)"));
    assert_no_secret(&[&ended.stdout]);
}

#[test]
fn a_wrong_configuration_ends_check_and_run_with_78_and_all_its_problems() {
    let home = Home::new();
    home.configure(&format!(
        "drain.backoff_max = \"soon\"\ncolour = 1\nprofiles.default.api_key = \"{KEY}\"\n\
         profiles.team.url = \"http://127.0.0.1:8792\"\n"
    ));
    home.write("key", "");
    for args in [&["check", "--admin", "0.0.0.0:8792"][..], &["run", "--admin", "0.0.0.0:8792"]] {
        let ended = home.run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{}", ended.stderr);
        for problem in [
            "config.toml:5: drain.backoff_max: \"soon\" is not a duration such as \"60s\", \"5m\" or \"2h\"",
            "config.toml:6: colour: unknown key",
            "config.toml:4: profiles.default.api_key_file: the key has more than one source: api_key (",
            "config.toml:8: profiles.team.url: http://127.0.0.1:8792 is this agent's own admin.listen (0.0.0.0:8792)",
        ] {
            assert!(ended.stderr.contains(problem), "{problem}\n{}", ended.stderr);
        }
        assert_no_secret(&[&ended.stderr]);
    }
    assert!(!home.path("data").exists(), "nothing was started");
}

#[test]
fn a_key_file_that_everybody_can_read_keeps_the_agent_from_starting() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let permissions = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.path("key"), permissions).expect("mode set");
    let ended = home.run(&["run"]);
    let key = home.path("key").display().to_string();
    assert_eq!(ended.code, Some(78));
    let expected = format!("{key} is open to other users (mode 0644); run: chmod 600 {key}");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}

#[test]
fn a_key_in_the_environment_is_never_printed() {
    let home = Home::new();
    for key in [KEY, OTHER_KEY, "xx_0123456789"] {
        let mut check = home.command(&["check"]);
        let output = check.env("REVENIUM_METERING_API_KEY", key).output().expect("runs");
        assert_eq!(output.status.code(), Some(if key.starts_with("xx") { 78 } else { 0 }));
        assert_no_secret(&[
            &String::from_utf8_lossy(&output.stdout),
            &String::from_utf8_lossy(&output.stderr),
        ]);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let home = Home::new();
    for args in [&["fly"][..], &["run", "--fly"], &["status", "--socket", "x"]] {
        let output = home.command(args).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn status_ends_with_2_where_no_agent_runs() {
    let home = Home::new();
    let ended = home.run(&["status"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let expected = format!("no agent runs on {}", home.path("data").display());
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}

#[test]
fn a_sandbox_refuses_a_configured_data_directory() {
    let home = Home::new();
    let ended = home.run(&["run", "--sandbox"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("config.toml:1: data_dir: --sandbox keeps its data"), "{}", ended.stderr);
}
