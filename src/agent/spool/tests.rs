//! Tests of `spool`: when a file goes, and when it stays, with a queue whose commits the test lets through.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revenium_event::Producer;

use super::*;
use crate::intake::tests::fake::{FakeQueue, Tally};
use crate::intake::tests::line;
use crate::tenant::Tenants;

const PRODUCER: Producer = Producer::from_bytes([1; 16]);

struct Rig {
    dir: tempfile::TempDir,
    queue: Arc<FakeQueue>,
    tally: Arc<Tally>,
    desk: Desk<FakeQueue>,
}

impl Rig {
    fn new(quarantine_bytes_max: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (queue, tally) = (Arc::<FakeQueue>::default(), Arc::<Tally>::default());
        let desk = Desk {
            queue: queue.clone(),
            door: Door::new(Tenants::by_name(["default".into()])),
            allow: Allow::new(vec![], vec![]),
            observer: tally.clone(),
            keep: Keep::new(dir.path().join("quarantine"), quarantine_bytes_max),
            batch_lines_max: 4,
            batch_bytes_max: 1 << 20,
        };
        fs::create_dir(dir.path().join("spool")).unwrap();
        Self { dir, queue, tally, desk }
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// A file with these lines after its hello.
    fn put(&self, lines: &[String]) -> PathBuf {
        let path = self.spool().join(revenium_event::spool::file_name(PRODUCER, 1));
        let hello = format!("{{\"hello\":{{\"v\":1,\"producer\":\"{PRODUCER}\"}}}}\n");
        fs::write(&path, hello + &lines.concat()).unwrap();
        path
    }

    fn folder(&self) -> Arc<Folder> {
        Arc::new(Folder::open(&self.spool()).unwrap())
    }

    async fn take(&self) -> Outcome {
        let folder = self.folder();
        let found = folder.list().unwrap().files.pop().expect("a file");
        let (_asks, stop) = Stop::pair();
        take(&self.desk, &folder, found, &stop).await
    }
}

/// The line of an event with its number.
fn numbered(n: u64) -> String {
    line(n).replacen('{', &format!("{{\"n\":{n},"), 1)
}

fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(numbered).collect()
}

fn kept(rig: &Rig) -> Vec<String> {
    let Ok(entries) = fs::read_dir(rig.dir.path().join("quarantine")) else { return Vec::new() };
    let mut kept: Vec<String> =
        entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    kept.sort();
    kept
}

#[tokio::test]
async fn nothing_is_removed_before_its_append_has_returned() {
    let rig = Rig::new(1 << 20);
    let path = rig.put(&lines(1..=9));
    rig.queue.hold();
    let taking = rig.take();
    tokio::pin!(taking);
    // The hello is the first line of four.
    for stored in [0, 3, 7] {
        tokio::select! {
            outcome = &mut taking => panic!("ended early: {outcome:?}"),
            () = rig.queue.waiting(1) => {}
        }
        assert_eq!((path.exists(), rig.queue.ids().len()), (true, stored));
        rig.queue.let_through(None);
    }
    let outcome = taking.await;
    assert!(matches!(outcome, Outcome::Taken(Counts { stored: 9, .. })), "{outcome:?}");
    assert!(!path.exists());
    assert_eq!(rig.queue.ids(), (1..=9).collect::<Vec<_>>());
    assert_eq!((rig.tally.count("stored"), rig.tally.count("appended")), (9, 9));
}

#[tokio::test]
async fn a_file_stays_while_the_log_refuses_and_what_it_had_taken_is_known_later() {
    let rig = Rig::new(1 << 20);
    let path = rig.put(&lines(1..=9));
    let full = AppendError::Full { budget: "store".into(), bytes: 9, bytes_max: 9 };
    for error in [full, AppendError::Disk("no".into()), AppendError::TooManyGaps { runs_max: 1 }] {
        rig.queue.hold();
        let (outcome, ()) = tokio::join!(rig.take(), async {
            rig.queue.waiting(1).await;
            rig.queue.let_through(None);
            rig.queue.waiting(1).await;
            rig.queue.let_through(Some(error.clone()));
        });
        assert!(matches!(&outcome, Outcome::Later(Later::Append(met)) if *met == error), "{outcome:?}");
        assert!(path.exists());
    }
    rig.queue.release();
    let outcome = rig.take().await;
    assert!(matches!(outcome, Outcome::Taken(Counts { stored: 6, known: 3, .. })), "{outcome:?}");
    assert_eq!(rig.queue.ids(), (1..=9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stop_ends_it_after_the_append_under_way() {
    let rig = Rig::new(1 << 20);
    let path = rig.put(&lines(1..=9));
    rig.queue.hold();
    let folder = rig.folder();
    let found = folder.list().unwrap().files.pop().unwrap();
    let (asks, stop) = Stop::pair();
    let (outcome, ()) = tokio::join!(take(&rig.desk, &folder, found, &stop), async {
        rig.queue.waiting(1).await;
        asks.send_replace(true);
        rig.queue.let_through(None);
    });
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    assert_eq!((path.exists(), rig.queue.ids().len()), (true, 3));
}

#[tokio::test]
async fn a_file_whose_bad_lines_find_no_room_stays() {
    // Room for one block, and so for the bad lines of one file.
    let rig = Rig::new(4096);
    rig.put(&["bad\n".to_owned(), numbered(1)]);
    assert!(matches!(rig.take().await, Outcome::Taken(Counts { stored: 1, bad: 1, .. })));
    let path = rig.put(&["worse\n".to_owned(), numbered(2)]);
    let outcome = rig.take().await;
    assert!(matches!(&outcome, Outcome::Later(Later::Keep(_))), "{outcome:?}");
    assert_eq!((path.exists(), kept(&rig)), (true, vec!["bad\n".to_owned()]));
    fs::remove_dir_all(rig.dir.path().join("quarantine")).unwrap();
    assert!(matches!(rig.take().await, Outcome::Taken(Counts { stored: 1, bad: 1, .. })));
    assert_eq!((path.exists(), kept(&rig)), (false, vec!["worse\n".to_owned()]));
}

#[tokio::test]
async fn the_same_bad_lines_are_kept_once_and_others_beside_them() {
    let rig = Rig::new(1 << 20);
    for bad in ["one\n", "one\n", "two\n", "one\n"] {
        rig.put(&[bad.to_owned()]);
        assert!(matches!(rig.take().await, Outcome::Taken(_)));
    }
    assert_eq!(kept(&rig), ["one\n", "two\n"]);
    assert_eq!(rig.desk.keep.bytes(), 8192);
}

#[tokio::test]
async fn a_file_that_is_still_written_to_stays() {
    let rig = Rig::new(1 << 20);
    rig.put(&lines(1..=6));
    rig.queue.hold();
    let (outcome, ()) = tokio::join!(rig.take(), async {
        rig.queue.waiting(1).await;
        rig.queue.let_through(None);
        rig.queue.waiting(1).await;
        // The reader has met the end by now.
        rig.put(&lines(1..=7));
        rig.queue.release();
    });
    assert!(matches!(outcome, Outcome::Later(Later::Growing)), "{outcome:?}");
    let outcome = rig.take().await;
    assert!(matches!(outcome, Outcome::Taken(Counts { stored: 1, known: 6, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_file_that_grows_without_end_is_read_as_far_as_a_spool_file_may_go() {
    let rig = Rig::new(1 << 30);
    let path = rig.put(&lines(1..=1));
    let folder = rig.folder();
    let found = folder.list().unwrap().files.pop().unwrap();
    let file = SpoolFile::open(&folder, &found).unwrap().unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_len(8 * FILE_BYTES_MAX).unwrap();
    let (mut lines, mut ends) = (Lines::new(), Vec::new());
    let ended = lines.read(&file, &mut |place, _| {
        ends.push(place.bytes.end);
        std::ops::ControlFlow::Continue(())
    });
    assert!(ended.unwrap());
    assert_eq!((ends.len(), ends[2], lines.read_to()), (3, FILE_BYTES_MAX, FILE_BYTES_MAX));
    assert!(!file.remove(&folder, lines.read_to()).unwrap(), "it stays");
}

#[tokio::test]
async fn a_file_that_changes_between_listing_and_opening_is_not_what_it_was() {
    let rig = Rig::new(1 << 20);
    let path = rig.put(&lines(1..=1));
    let folder = rig.folder();
    let found = folder.list().unwrap().files.pop().unwrap();
    let why = |opened: Result<SpoolFile, NotOpened>| match opened {
        Err(NotOpened::LeftAlone(why)) => why,
        Err(NotOpened::Taken) => "taken".to_owned(),
        Ok(_) => "opened".to_owned(),
    };
    let open = || why(SpoolFile::open(&folder, &found).unwrap());
    assert_eq!(open(), "opened");
    let held = SpoolFile::open(&folder, &found).unwrap().unwrap();
    assert_eq!(open(), "taken", "by whoever has it locked");
    // Another file by that name, meanwhile: it is not ours to remove.
    fs::rename(&path, rig.dir.path().join("elsewhere")).unwrap();
    rig.put(&lines(1..=1));
    assert!(!held.remove(&folder, held.bytes().unwrap()).unwrap());
    fs::remove_file(&path).unwrap();
    assert_eq!(open(), "taken");
    symlink(rig.dir.path().join("elsewhere"), &path).unwrap();
    assert_eq!(open(), "it is not a regular file");
    fs::remove_file(&path).unwrap();
    fs::hard_link(rig.dir.path().join("elsewhere"), &path).unwrap();
    drop(held);
    assert!(open().contains("one name"));
    fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(open(), "it is not a regular file");
}

#[test]
fn a_folder_is_made_for_whom_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let own = dir.path().join("deep/own");
    Folder::open_or_make(&own).unwrap();
    assert_eq!(mode(&own), 0o700);
    let shared = dir.path().join("shared");
    folder::make(&shared, folder::SYSTEM_MODE).unwrap();
    assert_eq!(mode(&shared), 0o3730);
    Folder::open(&shared).unwrap();
    // Its parent is an administrator's to make.
    let error = folder::make(&dir.path().join("not/there"), folder::SYSTEM_MODE).unwrap_err();
    assert!(matches!(error, FolderError::Io { what: "make", .. }), "{error}");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o757)).unwrap();
    let error = Folder::open(&own).unwrap_err();
    assert!(
        error.to_string().ends_with("(mode 0757): make it sticky with `chmod +t`, or close it"),
        "{error}"
    );
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Folder::open(&file).unwrap_err().to_string().contains("Not a directory"));
}
