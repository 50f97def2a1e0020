//! Which writing counts, and what is meant where nothing was written.

use super::*;

#[test]
fn without_any_configuration_everything_has_a_default() {
    let config = Config::load(&Flags::default(), &around(&[("XDG_CONFIG_HOME", "/nowhere")])).expect("works");
    assert_eq!(config.data_dir, Path::new("/home/me/.local/state/revenium-agent"));
    assert_eq!(
        config.socket,
        SocketConfig {
            path: "/tmp/revenium-1000/agent.sock".into(),
            mode: 0o660,
            allow_uids: vec![],
            allow_gids: vec![],
            connections_max: 900,
            connections_per_uid_max: 800,
            lines_per_second_per_uid_max: 500_000,
            line_timeout: Duration::from_secs(30),
        }
    );
    assert_eq!(config.admin.listen, Some("127.0.0.1:8792".parse().expect("an address")));
    assert_eq!(
        config.store,
        StoreConfig {
            capacity_bytes: 10 << 30,
            profile_capacity_bytes: 10 << 30,
            free_reserve_bytes: 512 << 20,
            segment_bytes: 64 << 20,
        }
    );
    assert_eq!(
        config.drain,
        DrainConfig {
            requests_per_second_max: 0,
            in_flight_max: 0,
            backoff_max: Duration::from_secs(60),
            proxy: None,
            ca_file: None,
            stop_deadline: Duration::from_secs(10),
        }
    );
    assert_eq!(
        config.profiles,
        [ProfileConfig {
            name: "default".to_owned(),
            url: "https://api.revenium.ai".to_owned(),
            key: None,
            account: "api.revenium.ai".to_owned(),
            allow_plain_http: false,
        }]
    );
    assert_eq!(config.logging, LoggingConfig { level: LogLevel::Info, format: LogFormat::Text });
    assert_eq!(config.warnings, ["profile default has no API key: its events are kept, not sent"]);
    assert!(
        config.entries.iter().all(|entry| matches!(entry.source, Source::Default | Source::DefaultFrom(_)))
    );
}

#[test]
fn flags_count_over_the_environment_over_conf_d_over_the_file_over_defaults() {
    let dir = Dir::new();
    let source = |dir: &Dir, flags: &Flags, vars: &[(&str, &str)]| {
        let mut vars = vars.to_vec();
        let state = dir.path("state");
        vars.push(("STATE_DIRECTORY", state.to_str().expect("UTF-8")));
        let config = Config::load(flags, &around(&vars)).expect("works");
        let entry = |key: &str| {
            let entry = config.entries.iter().find(|entry| entry.key == key).expect("is a key");
            (
                entry.shown.clone(),
                entry.source.to_string().replace(&format!("{}/", dir.0.path().display()), ""),
            )
        };
        [entry("logging.level"), entry("admin.listen"), entry("data_dir")]
    };
    let own = |text: &str, source: &str| (text.to_owned(), source.to_owned());
    let at = |name: &str| dir.path(name).display().to_string();

    dir.write("config.toml", "");
    let defaults = [
        own("info", "default"),
        own("127.0.0.1:8792", "default"),
        own(&at("state"), "default, from $STATE_DIRECTORY"),
    ];
    assert_eq!(source(&dir, &dir.flags(), &[]), defaults);

    dir.write(
        "config.toml",
        "data_dir = \"data\"\n[logging]\nlevel = \"debug\"\n[admin]\nlisten = \"127.0.0.1:1\"\n",
    );
    let file = [
        own("debug", "config.toml:3"),
        own("127.0.0.1:1", "config.toml:5"),
        own(&at("data"), "config.toml:1"),
    ];
    assert_eq!(source(&dir, &dir.flags(), &[]), file);

    dir.write("conf.d/10-a.toml", "logging.level = \"trace\"\nadmin.listen = \"127.0.0.1:10\"\n");
    dir.write("conf.d/20-b.toml", "\nadmin = { listen = \"127.0.0.1:20\" }\n");
    dir.write("conf.d/30-c.toml.off", "logging.level = \"error\"\n");
    dir.write("conf.d/.40-d.toml", "logging.level = \"error\"\n");
    let conf_d = [
        own("trace", "conf.d/10-a.toml:1"),
        own("127.0.0.1:20", "conf.d/20-b.toml:2"),
        own(&at("data"), "config.toml:1"),
    ];
    assert_eq!(source(&dir, &dir.flags(), &[]), conf_d);

    let vars = [("REVENIUM_LOG_LEVEL", "WARNING")];
    let environment = [own("warn", "$REVENIUM_LOG_LEVEL"), conf_d[1].clone(), conf_d[2].clone()];
    assert_eq!(source(&dir, &dir.flags(), &vars), environment);

    let flags = Flags {
        data_dir: Some("/flag/data".into()),
        admin: Some(String::new()),
        socket: Some("/flag/socket".into()),
        ..dir.flags()
    };
    let flagged = [environment[0].clone(), own("off", "--admin"), own("/flag/data", "--data-dir")];
    assert_eq!(source(&dir, &flags, &vars), flagged);
}

#[test]
fn the_users_configuration_is_found_without_a_flag() {
    let dir = Dir::new();
    dir.write("revenium-agent/config.toml", "[socket]\nmode = \"0600\"\n");
    let xdg = dir.0.path().to_str().expect("UTF-8");
    let config = Config::load(&Flags::default(), &around(&[("XDG_CONFIG_HOME", xdg)])).expect("works");
    assert_eq!((config.socket.mode, config.files), (0o600, vec![dir.path("revenium-agent/config.toml")]));

    fs::remove_file(dir.path("revenium-agent/config.toml")).expect("removed");
    dir.write("revenium-agent/conf.d/a.toml", "[socket]\nmode = \"0640\"\n");
    let config = Config::load(&Flags::default(), &around(&[("XDG_CONFIG_HOME", xdg)])).expect("works");
    assert_eq!(config.socket.mode, 0o640, "conf.d alone is enough");
}

#[test]
fn paths_follow_the_surroundings() {
    for (uid, vars, socket, data_dir) in [
        (
            0,
            &[("HOME", "/home/admin")][..],
            "/run/revenium/agent.sock",
            "/home/admin/.local/state/revenium-agent",
        ),
        (
            1000,
            &[("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "/run/user/1000"), ("XDG_STATE_HOME", "/state")],
            "/run/user/1000/revenium/agent.sock",
            "/state/revenium-agent",
        ),
        (
            999,
            &[("RUNTIME_DIRECTORY", "/run/revenium"), ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")],
            "/run/revenium/agent.sock",
            "/var/lib/a",
        ),
        (
            1000,
            &[("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "relative"), ("XDG_STATE_HOME", "")],
            "/tmp/revenium-1000/agent.sock",
            "/home/me/.local/state/revenium-agent",
        ),
    ] {
        let around = Surroundings::new(uid, vars.iter().copied());
        let config = Config::load(&Flags::default(), &around).expect("works");
        assert_eq!((config.socket.path, config.data_dir), (socket.into(), data_dir.into()));
    }
    let nowhere = Surroundings::new(1000, [("XDG_RUNTIME_DIR", "/run/user/1000")]);
    let error = Config::load(&Flags::default(), &nowhere).expect_err("there is no place for the log");
    assert_eq!(
        error.to_string(),
        "default: data_dir: has no default here, as neither $HOME nor $STATE_DIRECTORY is set: set it"
    );
}

#[test]
fn the_log_levels_of_reveniums_packages_are_known_in_any_case() {
    for (name, level) in [
        ("DEBUG", LogLevel::Debug),
        ("INFO", LogLevel::Info),
        ("WARNING", LogLevel::Warn),
        ("ERROR", LogLevel::Error),
        ("CRITICAL", LogLevel::Error),
        ("critical", LogLevel::Error),
        ("Warn", LogLevel::Warn),
        ("trace", LogLevel::Trace),
    ] {
        assert_eq!(load("", &[("REVENIUM_LOG_LEVEL", name)]).expect(name).logging.level, level, "{name}");
    }
}

#[test]
fn profiles_have_names_that_fit_everywhere_and_accounts_by_host() {
    let config = load(
        "[profiles.a-b_1]\n[profiles.eu]\nurl = \"https://eu.example/meter\"\naccount = \"all\"\n\
         [profiles.lan]\nurl = \"http://lan:9\"\nallow_plain_http = true",
        &[("REVENIUM_METERING_BASE_URL", "https://api.revenium.ai/meter/v2/")],
    )
    .expect("works");
    let shown: Vec<_> =
        config.profiles.iter().map(|p| (p.name.as_str(), p.url.as_str(), p.account.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("a-b_1", "https://api.revenium.ai", "api.revenium.ai"),
            ("default", "https://api.revenium.ai/meter/v2/", "api.revenium.ai"),
            ("eu", "https://eu.example/meter", "all"),
            ("lan", "http://lan:9", "lan:9"),
        ]
    );
    for name in ["\"a.b\"", "_unusable", "\"\"", "\"ä\"", "\"a b\"", &"x".repeat(65)] {
        let problems = refused(&format!("[profiles.{name}]\nurl = \"https://h\""), &[]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].ends_with("digits, \"-\" and \"_\", and does not begin with \"_\""),
            "{problems:?}"
        );
    }
}

#[test]
fn a_sandbox_takes_over_every_upstream_key_and_address_but_no_data_directory() {
    let dir = Dir::new();
    dir.write("key", KEY);
    dir.write(
        "config.toml",
        "[socket]\npath = \"/run/revenium/agent.sock\"\n[profiles.team]\napi_key_file = \"key\"\nurl = \"https://h\"\n",
    );
    let sandbox = SandboxFlags {
        data_dir: "/tmp/sandbox".into(),
        url: "http://127.0.0.1:9".to_owned(),
        key: Secret::new("rev_mk_sandbox"),
    };
    let flags = Flags { sandbox: Some(sandbox), ..dir.flags() };
    let vars = [("REVENIUM_METERING_API_KEY", KEY), ("STATE_DIRECTORY", "/var/lib/revenium-agent")];
    let config = Config::load(&flags, &around(&vars)).expect("works");
    assert_eq!(config.data_dir, Path::new("/tmp/sandbox"));
    assert_eq!(config.socket.path, Path::new("/tmp/sandbox/agent.sock"));
    assert_eq!(config.admin.listen.map(|address| address.port()), Some(0));
    for profile in ["default", "team"] {
        let profile = config.profile(profile).expect("is there");
        assert_eq!(profile.url, "http://127.0.0.1:9");
        assert_eq!(profile.key, Some(KeySource::Inline(Secret::new("rev_mk_sandbox"))));
    }

    let with_flag = Flags { data_dir: Some("/data".into()), ..flags.clone() };
    dir.write("conf.d/data.toml", "data_dir = \"/data\"\n");
    let error = Config::load(&with_flag, &around(&vars)).expect_err("has a data directory").to_string();
    assert_eq!(
        error.matches("data_dir: --sandbox keeps its data in a folder of its own").count(),
        2,
        "{error}"
    );
    let socket = Flags { socket: Some("/mine.sock".into()), ..flags };
    fs::remove_file(dir.path("conf.d/data.toml")).expect("removed");
    assert_eq!(Config::load(&socket, &around(&vars)).expect("works").socket.path, Path::new("/mine.sock"));
}

#[test]
fn the_data_directory_is_found_whatever_else_is_wrong() {
    let dir = Dir::new();
    dir.write_mode("key", KEY, 0o644);
    dir.write(
        "config.toml",
        "data_dir = \"/data\"\ncolour = 1\n[profiles.default]\napi_key_file = \"key\"\n",
    );
    assert_eq!(Config::locate_data_dir(&dir.flags(), &around(&[])), Ok("/data".into()));
    dir.write("config.toml", "data_dir = 7");
    assert!(Config::locate_data_dir(&dir.flags(), &around(&[])).is_err());
}
