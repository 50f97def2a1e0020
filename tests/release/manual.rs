//! The manual reads well and misses nothing; completions complete, in the shells themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{BINARY, printed, run};

/// Commands that `help` shows after `path`.
fn shown(path: &[&str]) -> BTreeSet<String> {
    let help = printed(Command::new(BINARY).args(path).arg("--help"));
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next();
    let name = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
    commands.unwrap_or_default().lines().filter_map(name).filter(|n| !n.is_empty() && n != "help").collect()
}

#[test]
fn the_manual_has_a_page_for_each_command_that_help_shows() {
    let dir = tempfile::tempdir().expect("a folder");
    printed(Command::new(BINARY).args(["man", "--output"]).arg(dir.path().join("man")));
    let pages = fs::read_dir(dir.path().join("man")).expect("made");
    let pages: BTreeSet<String> =
        pages.map(|page| page.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    let mut expected = BTreeSet::from(["revenium-agent.1".to_owned()]);
    for command in shown(&[]) {
        expected.insert(format!("revenium-agent-{command}.1"));
        let below = shown(&[&command]).into_iter();
        expected.extend(below.map(|below| format!("revenium-agent-{command}-{below}.1")));
    }
    assert!(expected.contains("revenium-agent-dlq-retry.1"), "{expected:?}");
    assert_eq!(pages, expected);
    // As it is shown, and without a word from what shows it.
    for page in pages {
        let shown = printed(
            Command::new("man")
                .args(["--warnings", "--local-file"])
                .arg(dir.path().join("man").join(&page))
                .env("MANROFFOPT", "-ww")
                .env("LC_ALL", "C.UTF-8"),
        );
        assert!(shown.contains("NAME") && shown.contains("SYNOPSIS"), "{page}: {shown}");
    }
}

#[test]
fn the_main_page_names_every_exit_code_and_every_variable_that_is_read() {
    let page = printed(Command::new(BINARY).arg("man")).replace("\\-", "-");
    for section in ["EXIT STATUS", "ENVIRONMENT", "FILES"] {
        assert!(page.contains(section), "{section}");
    }
    assert!(page.contains("\\fB78\\fR\nthe configuration is wrong: revenium-agent check"), "{page}");
    let mut read = BTreeSet::new();
    for folder in ["src/agent", "src/emitter"] {
        variables(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut read);
    }
    assert!(read.contains("REVENIUM_AGENT_SPOOL") && read.contains("XDG_STATE_HOME"), "{read:?}");
    let missing: Vec<_> = read.iter().filter(|name| !page.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "src/agent/commands/man.rs does not name {missing:?}");
}

/// Environment variables that code names, but for its tests.
fn variables(dir: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            variables(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let of_ours = ["REVENIUM_", "XDG_", "STATE_D", "RUNTIME_D", "CREDENTIALS_D"];
            let is_name = |text: &&str| text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            let named = text.split('"').filter(|text| of_ours.iter().any(|begin| text.starts_with(begin)));
            into.extend(named.filter(is_name).map(str::to_owned));
        }
    }
}

fn completions(shell: &str, dir: &Path) -> String {
    let script = dir.join(shell);
    fs::write(&script, printed(Command::new(BINARY).args(["completions", shell]))).expect("written");
    script.display().to_string()
}

#[test]
fn bash_completes_commands_and_their_options_and_nothing_hidden() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = completions("bash", dir.path());
    let complete = |words: &[&str]| {
        let count = words.len();
        let (last, before) = (words[count - 1], words[count - 2]);
        let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let code = format!(
            "source {script}; function=$(complete -p revenium-agent | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
             COMP_WORDS=({words}); COMP_CWORD={}; $function revenium-agent '{last}' '{before}'
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            count - 1
        );
        let printed = printed(Command::new("bash").args(["--norc", "-c", &code]));
        printed.split_whitespace().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    assert_eq!(complete(&["revenium-agent", "dlq", "re"]), BTreeSet::from(["retry".to_owned()]));
    assert_eq!(complete(&["revenium-agent", "run", "--rea"]), BTreeSet::from(["--ready-file".to_owned()]));
    let commands: BTreeSet<String> =
        complete(&["revenium-agent", ""]).into_iter().filter(|word| !word.starts_with('-')).collect();
    let mut expected = shown(&[]);
    expected.insert("help".to_owned());
    assert_eq!(commands, expected);
}

#[test]
fn zsh_and_fish_take_their_completions() {
    let dir = tempfile::tempdir().expect("a folder");
    printed(Command::new("zsh").args(["-n", &completions("zsh", dir.path())]));
    let fish = format!("source {}; complete -C 'revenium-agent dlq ret'", completions("fish", dir.path()));
    let completed = printed(Command::new("fish").args(["--no-config", "-c", &fish]).env("HOME", dir.path()));
    assert!(completed.starts_with("retry\t"), "{completed}");
}

#[test]
fn a_shell_or_a_folder_that_cannot_be_is_told() {
    let shell = run(Command::new(BINARY).args(["completions", "csh"]));
    assert_eq!(shell.status.code(), Some(2));
    let said = String::from_utf8_lossy(&shell.stderr).into_owned();
    assert!(said.contains("[possible values: bash, elvish, fish, powershell, zsh]"), "{said}");
    let folder = run(Command::new(BINARY).args(["man", "--output", "/dev/null"]));
    assert_eq!(folder.status.code(), Some(74));
    let said = String::from_utf8_lossy(&folder.stderr).into_owned();
    assert_eq!(said, "revenium-agent: cannot write to /dev/null: File exists (os error 17)\n");
}
