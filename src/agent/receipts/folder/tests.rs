//! Tests of `folder`: what it holds, and no more.

use std::os::unix::fs::PermissionsExt;

use super::*;

const TODAY_MS: u64 = 1_795_867_200_000;

fn folder(dir: &Path) -> Folder {
    Folder { file_bytes_max: 100, all_bytes_max: 350, ..Folder::new(dir.to_owned(), 0) }
}

/// A line of so many bytes, its end included, that begins with `name`.
fn line(name: &str, bytes: usize) -> Vec<u8> {
    let mut line = format!("{name:<0$}", bytes - 1).into_bytes();
    line.push(b'\n');
    line
}

/// Names and content of all files.
fn content(dir: &Path) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .expect("listed")
        .map(|entry| {
            let entry = entry.expect("listed");
            let text = fs::read_to_string(entry.path()).expect("read");
            (entry.file_name().into_string().expect("UTF-8"), text)
        })
        .collect();
    found.sort();
    found
}

fn sizes(dir: &Path) -> Vec<(String, usize)> {
    content(dir).into_iter().map(|(name, text)| (name, text.len())).collect()
}

#[test]
fn a_file_is_filled_to_its_bound_and_a_byte_more_begins_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut folder = folder(dir.path());
    folder.append(&line("a", 60), TODAY_MS).expect("written");
    folder.append(&line("b", 40), TODAY_MS).expect("written");
    let name = |n: u32| format!("2026-11-28-{n:06}.jsonl");
    assert_eq!(sizes(dir.path()), [(name(0), 100)]);
    folder.append(&line("c", 2), TODAY_MS).expect("written");
    assert_eq!(sizes(dir.path()), [(name(0), 100), (name(1), 2)]);
    // A day has files of its own, and so has another process, unless there is room.
    folder.append(&line("d", 2), TODAY_MS + DAY_MS).expect("written");
    let mut after = self::folder(dir.path());
    after.append(&line("e", 97), TODAY_MS + DAY_MS).expect("written");
    after.append(&line("f", 2), TODAY_MS + DAY_MS).expect("written");
    let (next, newest) = ("2026-11-29-000000.jsonl".to_owned(), "2026-11-29-000001.jsonl".to_owned());
    assert_eq!(sizes(dir.path()), [(name(0), 100), (name(1), 2), (next, 99), (newest, 2)]);
}

#[test]
fn all_files_stay_within_their_bound_and_the_oldest_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut folder = folder(dir.path());
    for n in 0..20 {
        folder.append(&line(&n.to_string(), 90), TODAY_MS).expect("written");
        let files = sizes(dir.path());
        assert!(files.iter().map(|(_, bytes)| bytes).sum::<usize>() <= 350, "{files:?}");
        // The file that is begun may be filled: it counts as if it were.
        assert_eq!(files.len(), (n + 1).min(3), "{files:?}");
    }
    let left: Vec<String> = content(dir.path()).iter().map(|(_, text)| text.trim().to_owned()).collect();
    assert_eq!(left, ["17", "18", "19"]);
}

#[test]
fn what_is_thirty_days_old_stays_and_what_is_older_goes() {
    let dir = tempfile::tempdir().expect("a folder");
    let others = ["notes.jsonl", "2026-01-01-000000.json", "2026-01-01-0.jsonl", "lost+found"];
    for name in others {
        fs::write(dir.path().join(name), "somebody's").expect("written");
    }
    for day in [0, 1, 2] {
        folder(dir.path()).append(b"\n", TODAY_MS + day * DAY_MS).expect("written");
    }
    folder(dir.path()).append(b"\n", TODAY_MS + 31 * DAY_MS).expect("written");
    let mut left: Vec<String> = content(dir.path()).into_iter().map(|(name, _)| name).collect();
    left.retain(|name| !others.contains(&name.as_str()));
    assert_eq!(left, ["2026-11-29-000000.jsonl", "2026-11-30-000000.jsonl", "2026-12-29-000000.jsonl"]);
    assert_eq!(content(dir.path()).len(), 3 + others.len(), "what is somebody's is left alone");
}

#[test]
fn a_line_that_was_cut_off_takes_none_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    folder(dir.path()).append(b"whole\nhal", TODAY_MS).expect("written");
    folder(dir.path()).append(b"next\n", TODAY_MS).expect("written");
    assert_eq!(content(dir.path())[0].1, "whole\nhal\nnext\n");
}

#[test]
fn it_is_its_owners_alone_and_an_error_is_not_its_end() {
    let root = tempfile::tempdir().expect("a folder");
    let dir = root.path().join("receipts");
    let mut folder = folder(&dir);
    fs::write(&dir, "in its place").expect("written");
    folder.append(b"one\n", TODAY_MS).expect_err("there is no folder");
    fs::remove_file(&dir).expect("removed");
    folder.append(b"two\n", TODAY_MS).expect("written");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    let file = dir.join("2026-11-28-000000.jsonl");
    assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    assert_eq!(fs::read_to_string(file).expect("read"), "two\n");
}

#[test]
fn a_time_of_no_age_has_a_day_all_the_same() {
    assert_eq!(day(0), "1970-01-01");
    assert_eq!(day(TODAY_MS), "2026-11-28");
    assert_eq!(day(u64::MAX), "9999-12-30");
}

#[test]
fn nothing_is_written_into_what_the_log_has_reserved() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut folder = Folder { free_bytes_min: u64::MAX, ..folder(dir.path()) };
    let error = folder.append(&line("a", 10), TODAY_MS).expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("store.free_reserve_bytes"), "{error}");
    assert_eq!(sizes(dir.path()).iter().map(|(_, bytes)| bytes).sum::<usize>(), 0);
    folder.free_bytes_min = 0;
    folder.append(&line("b", 10), TODAY_MS).expect("written");
}
