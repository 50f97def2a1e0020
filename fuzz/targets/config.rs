//! A configuration file: it is read, or every problem names its key and says what to do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use revenium_agent::config::{Config, Flags, Surroundings};

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let file = dir.path().join("config.toml");
    std::fs::write(&file, bytes).expect("it is written");
    let flags = Flags { config: Some(file), data_dir: Some(dir.path().to_owned()), ..Flags::default() };
    let around = Surroundings::new::<&str, &str>(1000, []);
    if let Err(error) = Config::load(&flags, &around) {
        assert!(!error.problems.is_empty());
        for problem in &error.problems {
            assert!(!problem.to_string().trim().is_empty());
        }
    }
});
