//! What is written where: the machine's agent for root, an agent of one's own for everybody else. Pure.
//!
//! The units are those of `ops/systemd`, carried in the program, so that it can install itself. What a
//! package has put in place already is left to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration of a user's own agent, and of the machine's where there is no systemd.
const OWN: &str = "\
# Written by `revenium-agent setup`; ops/config/agent.toml has every key.
[profiles.default]
api_key_file = \"key\"
";

/// Two agents of a machine cannot have one address.
const NO_ADMIN: &str = "
# Metrics and the status page: off, since another agent of this machine may have \"127.0.0.1:8792\".
[admin]
listen = \"\"
";

/// Where a program is put that lies where a service cannot run it.
const INSTALLED: &str = "/usr/local/bin/revenium-agent";

/// The program's path in the units as they are shipped.
const SHIPPED: &str = "/usr/bin/revenium-agent";

/// The machine's files beside the configuration.
const MACHINE_FILES: [(&str, &str); 9] = [
    (
        "/etc/systemd/system/revenium-agent.service",
        include_str!("../../../../ops/systemd/revenium-agent.service"),
    ),
    (
        "/etc/systemd/system/revenium-agent.socket",
        include_str!("../../../../ops/systemd/revenium-agent.socket"),
    ),
    (
        "/etc/systemd/system/revenium-agent-relay.socket",
        include_str!("../../../../ops/systemd/revenium-agent-relay.socket"),
    ),
    (
        "/etc/systemd/system/revenium-agent-gateway.socket",
        include_str!("../../../../ops/systemd/revenium-agent-gateway.socket"),
    ),
    (
        "/etc/systemd/system/revenium-agent-gateway.service",
        include_str!("../../../../ops/systemd/revenium-agent-gateway.service"),
    ),
    (
        "/etc/systemd/system/revenium-agent-key.path",
        include_str!("../../../../ops/systemd/revenium-agent-key.path"),
    ),
    (
        "/etc/systemd/system/revenium-agent-key.service",
        include_str!("../../../../ops/systemd/revenium-agent-key.service"),
    ),
    ("/etc/sysusers.d/revenium-agent.conf", include_str!("../../../../ops/systemd/sysusers.conf")),
    ("/etc/tmpfiles.d/revenium-agent.conf", include_str!("../../../../ops/systemd/tmpfiles.conf")),
];

/// What is so here.
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) whose: Whose,
    /// The configuration file of that agent.
    pub(super) config: PathBuf,
    pub(super) has_systemd: bool,
    /// A package has installed the units.
    pub(super) is_packaged: bool,
    /// This program's file.
    pub(super) program: PathBuf,
}

/// Whose agent it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Machine,
    User,
}

/// What goes into a new configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    pub(super) url: Option<String>,
    pub(super) relay: Option<SocketAddr>,
}

/// All that is to be there in the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The key's file.
    pub(super) key: PathBuf,
    /// The configuration first.
    pub(super) files: Vec<Planned>,
    /// Where the program has to be copied to.
    pub(super) program: Option<PathBuf>,
}

/// A file that anybody may read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Layout {
    pub(super) fn new(here: &Here, choices: &Choices) -> Self {
        let config = Planned { path: here.config.clone(), text: config(here, choices) };
        let mut layout = Self { key: here.config.with_file_name("key"), files: vec![config], program: None };
        if !here.has_systemd || here.is_packaged {
            return layout;
        }
        match here.whose {
            Whose::User => {
                let text = include_str!("../../../../ops/systemd/user.service");
                let text = text.replace(SHIPPED, &unit_word(&here.program));
                layout.files.push(Planned { path: own_unit(&here.config), text });
            }
            Whose::Machine => {
                let runs_there = can_serve(&here.program);
                let program = if runs_there { here.program.as_path() } else { Path::new(INSTALLED) };
                layout.program = (!runs_there).then(|| program.to_owned());
                layout.files.extend(MACHINE_FILES.map(|(path, text)| Planned {
                    path: path.into(),
                    text: text.replace(SHIPPED, &unit_word(program)),
                }));
            }
        }
        layout
    }

    pub(super) fn config(&self) -> &Path {
        &self.files[0].path
    }
}

fn config(here: &Here, choices: &Choices) -> String {
    let mut text = match here.whose {
        Whose::Machine if here.has_systemd => include_str!("../../../../ops/systemd/config.toml").to_owned(),
        Whose::Machine => OWN.to_owned(),
        Whose::User => format!("{OWN}{NO_ADMIN}"),
    };
    if let Some(url) = &choices.url {
        let url = toml::Value::String(url.clone());
        text = text.replacen("[profiles.default]\n", &format!("[profiles.default]\nurl = {url}\n"), 1);
    }
    if let Some(relay) = choices.relay {
        text.push_str(&format!("\n[relay]\nlisten = \"{relay}\"\n"));
    }
    text
}

/// `systemd/user` beside the configuration's folder.
fn own_unit(config: &Path) -> PathBuf {
    let dir = config.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    dir.join("systemd/user/revenium-agent.service")
}

/// Whether the machine's service, which sees no homes and is no friend of odd names, can run it there.
fn can_serve(program: &Path) -> bool {
    (program.starts_with("/usr") || program.starts_with("/opt")) && is_plain(program)
}

fn is_plain(path: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.+".contains(byte);
    path.as_os_str().as_encoded_bytes().iter().all(plain)
}

/// A path as a word of a unit's command line.
fn unit_word(path: &Path) -> String {
    let text = path.display().to_string();
    if is_plain(path) {
        return text;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(whose: Whose, program: &str) -> Here {
        let config = match whose {
            Whose::Machine => "/etc/revenium-agent/config.toml",
            Whose::User => "/home/me/.config/revenium-agent/config.toml",
        };
        let program = program.into();
        Here { whose, config: config.into(), has_systemd: true, is_packaged: false, program }
    }

    fn layout(here: &Here) -> Layout {
        Layout::new(here, &Choices::default())
    }

    fn starts(layout: &Layout, unit: &str) -> String {
        let unit = layout.files.iter().find(|file| file.path.ends_with(unit)).expect(unit);
        unit.text.lines().find(|line| line.starts_with("ExecStart=")).expect("starts something").to_owned()
    }

    #[test]
    fn a_service_runs_the_program_where_it_is_or_a_copy_where_it_can() {
        for (program, runs, is_copied) in [
            ("/usr/bin/revenium-agent", "/usr/bin/revenium-agent", false),
            ("/opt/revenium/agent", "/opt/revenium/agent", false),
            ("/home/me/.cargo/bin/revenium-agent", INSTALLED, true),
            ("/opt/re venium/agent", INSTALLED, true),
        ] {
            let layout = layout(&here(Whose::Machine, program));
            assert_eq!(starts(&layout, "revenium-agent.service"), format!("ExecStart={runs} run"));
            assert_eq!(layout.program.is_some(), is_copied, "{program}");
            let left = layout.files.iter().any(|file| file.text.contains(SHIPPED) && runs != SHIPPED);
            assert!(!left, "{program}: a unit names another program");
        }
        let own = layout(&here(Whose::User, "/home/me/my 100% \"bin\"/agent"));
        assert_eq!(
            starts(&own, "systemd/user/revenium-agent.service"),
            "ExecStart=\"/home/me/my 100%% \\\"bin\\\"/agent\" run --config %E/revenium-agent/config.toml"
        );
    }

    #[test]
    fn units_are_left_to_a_package_and_to_machines_that_have_systemd() {
        let own = here(Whose::User, "/usr/bin/revenium-agent");
        assert_eq!(
            layout(&own).files[1].path,
            Path::new("/home/me/.config/systemd/user/revenium-agent.service")
        );
        for here in [
            Here { is_packaged: true, ..here(Whose::Machine, "/usr/bin/revenium-agent") },
            Here { has_systemd: false, ..here(Whose::Machine, "/home/admin/revenium-agent") },
            Here { has_systemd: false, ..own },
        ] {
            let layout = layout(&here);
            let paths: Vec<_> = layout.files.iter().map(|file| &file.path).collect();
            assert_eq!((paths, &layout.program), (vec![&here.config], &None));
        }
    }

    #[test]
    fn a_new_configuration_has_what_was_chosen_and_the_key_where_it_is_written() {
        let choices = Choices {
            url: Some("http://127.0.0.1:9\"".to_owned()),
            relay: Some(SocketAddr::from(([127, 0, 0, 1], 8793))),
        };
        for whose in [Whose::Machine, Whose::User] {
            let here = here(whose, "/usr/bin/revenium-agent");
            let toml: toml::Table = toml::from_str(&config(&here, &choices)).expect("is TOML");
            let profile = &toml["profiles"]["default"];
            assert_eq!(profile["url"].as_str(), Some("http://127.0.0.1:9\""));
            assert_eq!(toml["relay"]["listen"].as_str(), Some("127.0.0.1:8793"));
            let key = profile.get(if whose == Whose::Machine { "credential" } else { "api_key_file" });
            assert_eq!(key.and_then(toml::Value::as_str), Some("key"));
        }
    }
}
