//! Keys: where they come from, and that no text ever shows one.

use super::*;

#[test]
fn a_key_comes_from_one_of_three_places() {
    let dir = Dir::new();
    let file = dir.write("key", &format!("{KEY}\n"));
    let credentials = dir.0.path().to_str().expect("UTF-8");
    for (toml, vars, key) in [
        (format!("api_key = \"{KEY}\""), &[][..], KeySource::Inline(Secret::new(KEY))),
        ("api_key_file = \"key\"".to_owned(), &[], KeySource::File(file.clone())),
        (
            "credential = \"key\"".to_owned(),
            &[("CREDENTIALS_DIRECTORY", credentials)],
            KeySource::Credential(file),
        ),
        (String::new(), &[("REVENIUM_METERING_API_KEY", KEY)], KeySource::Inline(Secret::new(KEY))),
    ] {
        dir.write("config.toml", &format!("[profiles.default]\n{toml}\n"));
        let config = Config::load(&dir.flags(), &around(vars)).expect(&toml);
        assert_eq!(config.profile("default").and_then(|profile| profile.key.clone()), Some(key));
        assert_eq!(config.warnings, Vec::<String>::new());
    }
}

#[test]
fn two_key_sources_are_an_error_that_names_both() {
    let dir = Dir::new();
    dir.write("key", KEY);
    dir.write("config.toml", &format!("[profiles.team]\napi_key = \"{KEY}\"\n"));
    dir.write("conf.d/a.toml", "[profiles.team]\napi_key_file = \"../key\"\n");
    let error = Config::load(&dir.flags(), &around(&[])).expect_err("has two").to_string();
    let at = |name: &str| dir.path(name).display().to_string();
    assert_eq!(
        error,
        format!(
            "{}:2: profiles.team.api_key_file: the key has more than one source: \
             api_key ({}:2), api_key_file ({}:2); leave one",
            at("conf.d/a.toml"),
            at("config.toml"),
            at("conf.d/a.toml")
        )
    );
}

#[test]
fn the_environments_key_takes_the_place_of_a_files_with_a_warning() {
    let dir = Dir::new();
    dir.write("key", OTHER_KEY);
    dir.write("config.toml", "[profiles.default]\napi_key_file = \"key\"\n");
    let config = Config::load(&dir.flags(), &around(&[("REVENIUM_METERING_API_KEY", KEY)])).expect("works");
    assert_eq!(config.profiles[0].key, Some(KeySource::Inline(Secret::new(KEY))));
    let place = dir.path("config.toml");
    let warning = "profiles.default.api_key_file is not used: $REVENIUM_METERING_API_KEY is set";
    assert_eq!(config.warnings, [format!("{}:2: {warning}", place.display())]);
}

#[test]
fn a_key_file_that_others_can_read_is_refused_and_a_config_file_warned_about() {
    let dir = Dir::new();
    let key = dir.write_mode("key", KEY, 0o644);
    dir.write("config.toml", "[profiles.default]\napi_key_file = \"key\"\n");
    let error = Config::load(&dir.flags(), &around(&[])).expect_err("is exposed").to_string();
    let (config, key) = (dir.path("config.toml"), key.display());
    assert_eq!(
        error,
        format!(
            "{}:2: profiles.default.api_key_file: {key} is open to other users (mode 0644); run: chmod 600 {key}",
            config.display()
        )
    );
    // Nor what a credential was copied from, by our unit.
    dir.write("conf.d/a.toml", "[profiles.default]\ncredential = \"key\"\n");
    dir.write("config.toml", "");
    dir.write("credentials/key", KEY);
    let credentials = dir.path("credentials").display().to_string();
    let error = Config::load(&dir.flags(), &around(&[("CREDENTIALS_DIRECTORY", &credentials)]));
    let error = error.expect_err("its source is exposed").to_string();
    assert!(error.contains(&format!("profiles.default.credential: {key} is open to other users")), "{error}");
    dir.write("conf.d/a.toml", "");
    let config = dir.write_mode("config.toml", &format!("[profiles.default]\napi_key = \"{KEY}\"\n"), 0o644);
    let warnings = Config::load(&dir.flags(), &around(&[])).expect("works").warnings;
    let config = config.display();
    assert_eq!(
        warnings,
        [format!("holds an api_key: {config} is open to other users (mode 0644); run: chmod 600 {config}")]
    );
}

#[test]
fn no_secret_is_in_any_text() {
    let mut texts = Vec::new();
    let proxy = "http://user:hunter2@proxy:3128";
    let config = load(
        &format!("[drain]\nproxy = \"{proxy}\"\n[profiles.x]\napi_key = \"{OTHER_KEY}\""),
        &[("REVENIUM_METERING_API_KEY", KEY)],
    );
    texts.push(format!("{:?}", config.expect("works")));
    // Keys and passwords in every wrong place that comes to mind.
    for toml in [
        format!("[profiles.default]\napi_key = \"{KEY}"),
        format!("[profiles.default]\napi_key = {KEY}"),
        format!("[profiles.default]\napi_key = [\"{KEY}\"]"),
        format!("[profiles.default]\napi_key = \"{KEY} \\u0000\""),
        format!("[profiles.default]\napi_key_file = \"{KEY}\""),
        format!("[profiles.default]\ncredential = \"{KEY}\""),
        format!("[profiles.default]\nurl = \"{KEY}\""),
        "[profiles.default]\nurl = \"https://user:hunter2@api.revenium.ai\"".to_owned(),
        "[profiles.default]\nurl = \"ftp://user:hunter2@api.revenium.ai\"".to_owned(),
        format!("[profiles.default]\napi_key = \"{KEY}\"\napi_key_file = \"{KEY}\""),
        "[drain]\nproxy = \"ftp://user:hunter2@proxy\"".to_owned(),
        format!("[drain]\nbackoff_max = \"{KEY}\""),
        format!("[logging]\nlevel = \"{KEY}\""),
        format!("[admin]\nlisten = \"{KEY}\""),
        format!("[socket]\nmode = \"{KEY}\""),
        format!("[store]\ncapacity_bytes = \"{KEY}\""),
    ] {
        let error = load(&toml, &[]).expect_err(&toml);
        texts.push(format!("{error} {error:?}"));
    }
    texts.push(
        load("", &[("REVENIUM_METERING_API_KEY", &KEY.replace("rev_", "xev_"))])
            .expect_err("no key")
            .to_string(),
    );
    for text in texts {
        for secret in ["0123456789", "9876543210", "hunter2"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}
