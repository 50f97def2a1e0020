//! The scripted agent, and waiting for what must come true.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use revenium_emitter::{Builder, Emitter, Event};
use revenium_event::line::{self, Line};

/// Far more than anything waited for takes.
const AT_MOST: Duration = Duration::from_secs(60);

/// What to say to one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Durable,
    /// Neither keep nor answer it.
    Nothing,
    /// Keep it, and cut the connection before anything is answered.
    HangUp,
    /// Do not keep it, and say this code about its member `model`.
    Refuse(&'static str),
    /// Say this code of the whole connection, and end it.
    TurnAway(&'static str),
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) line: &'a str,
    /// How many came before it, on all connections.
    pub(crate) count: u64,
}

type Script = Box<dyn FnMut(&Seen<'_>) -> Say + Send>;

struct Heard {
    script: Script,
    count: u64,
    /// By producer and number.
    stored: BTreeMap<(String, u64), String>,
    /// Events that were stored already.
    repeated: u64,
    /// What a sender did that the protocol forbids.
    wrong: Vec<String>,
    connections: Vec<UnixStream>,
    hellos: Vec<String>,
}

/// A folder with a socket and a spool, and an agent that comes and goes.
pub(crate) struct Agent {
    dir: tempfile::TempDir,
    heard: Arc<Mutex<Heard>>,
    serving: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Agent {
    /// One that says `script` to each event, and is not there yet.
    pub(crate) fn absent(script: impl FnMut(&Seen<'_>) -> Say + Send + 'static) -> Self {
        let heard = Heard {
            script: Box::new(script),
            count: 0,
            stored: BTreeMap::new(),
            repeated: 0,
            wrong: Vec::new(),
            connections: Vec::new(),
            hellos: Vec::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, heard: Arc::new(Mutex::new(heard)), serving: None }
    }

    pub(crate) fn new(script: impl FnMut(&Seen<'_>) -> Say + Send + 'static) -> Self {
        let mut agent = Self::absent(script);
        agent.start();
        agent
    }

    /// From now on it says this.
    pub(crate) fn say(&self, script: impl FnMut(&Seen<'_>) -> Say + Send + 'static) {
        self.heard().script = Box::new(script);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    pub(crate) fn builder(&self) -> Builder {
        Emitter::builder().socket(self.socket()).spool(self.spool())
    }

    pub(crate) fn start(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (heard, stop) = (Arc::clone(&self.heard), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let accepting = thread::spawn(move || {
            let mut serving = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let (stream, heard) = (stream.unwrap(), Arc::clone(&heard));
                lock(&heard).connections.push(stream.try_clone().unwrap());
                serving.push(thread::spawn(move || serve(stream, &heard)));
            }
            serving.into_iter().for_each(|thread| thread.join().unwrap());
        });
        self.serving = Some((stop, accepting));
    }

    /// It vanishes, as one that is killed.
    pub(crate) fn stop(&mut self) {
        let Some((stop, accepting)) = self.serving.take() else { return };
        stop.store(true, Ordering::Release);
        let _wakes_it = UnixStream::connect(self.socket());
        let _ = std::fs::remove_file(self.socket());
        // Those that are accepted meanwhile are cut off as well.
        while !accepting.is_finished() {
            self.cut_off();
            thread::yield_now();
        }
        accepting.join().unwrap();
        self.heard().connections.clear();
    }

    /// Ends all connections.
    pub(crate) fn cut_off(&self) {
        for connection in &self.heard().connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// What is stored, in the order of producers and numbers.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.heard().stored.values().cloned().collect()
    }

    /// The `id`s of what is stored, in their order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.stored().iter().map(|line| id_of(line)).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn producers(&self) -> usize {
        let mut all: Vec<_> = self.heard().stored.keys().map(|(producer, _)| producer.clone()).collect();
        all.dedup();
        all.len()
    }

    /// Unbroken runs of numbers that were stored, of the producer that has most.
    pub(crate) fn runs(&self) -> usize {
        let heard = self.heard();
        let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
        for (producer, n) in heard.stored.keys() {
            let is_first = !heard.stored.contains_key(&(producer.clone(), n - 1));
            *runs.entry(producer).or_default() += usize::from(is_first);
        }
        runs.into_values().max().unwrap_or(0)
    }

    pub(crate) fn hellos(&self) -> Vec<String> {
        self.heard().hellos.clone()
    }

    pub(crate) fn repeated(&self) -> u64 {
        self.heard().repeated
    }

    /// Waits until so many are stored; fails if a sender broke the protocol.
    pub(crate) fn wait_stored(&self, count: usize) {
        until("stored", || self.heard().stored.len(), |stored| *stored >= count);
        self.assert_well_behaved();
        assert_eq!(self.heard().stored.len(), count);
    }

    /// Waits until events 0..count are stored, each once.
    pub(crate) fn wait_all(&self, count: u64) {
        self.wait_stored(usize::try_from(count).unwrap());
        assert_eq!(self.ids(), (0..count).collect::<Vec<_>>());
    }

    pub(crate) fn assert_well_behaved(&self) {
        assert_eq!(self.heard().wrong, Vec::<String>::new());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap()
}

fn serve(mut stream: UnixStream, heard: &Mutex<Heard>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut producer = None;
    let mut outstanding: Vec<u64> = Vec::new();
    let mut bytes = Vec::new();
    while {
        bytes.clear();
        reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0)
    } {
        if bytes.last() != Some(&b'\n') {
            // Cut off within a line; it is no event.
            break;
        }
        let mut heard = lock(heard);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let n = match line::parse(&bytes) {
            Ok(Line::Hello(hello)) => {
                producer = hello.producer.map(|producer| producer.to_string());
                heard.hellos.push(text.trim_end().to_owned());
                continue;
            }
            Ok(Line::Event { n: Some(n), .. }) => n,
            other => {
                heard.wrong.push(format!("{other:?} from {}", &text[..text.len().min(80)]));
                break;
            }
        };
        let Some(producer) = producer.clone() else {
            heard.wrong.push("a number without a producer".into());
            break;
        };
        if outstanding.last().is_some_and(|last| *last >= n) {
            heard.wrong.push(format!("{n} after {outstanding:?}"));
        }
        outstanding.push(n);
        let count = heard.count;
        heard.count += 1;
        let said = (heard.script)(&Seen { line: &text, count });
        if matches!(said, Say::Durable | Say::HangUp) {
            match heard.stored.insert((producer.clone(), n), text.clone()) {
                Some(before) if before != text => heard.wrong.push(format!("{n} has other bytes now")),
                Some(_) => heard.repeated += 1,
                None => {}
            }
        }
        drop(heard);
        let answer = match said {
            Say::Durable => {
                outstanding.clear();
                format!("{{\"ok\":true,\"upto\":{n}}}\n")
            }
            Say::Nothing => continue,
            Say::HangUp => break,
            Say::Refuse(code) => {
                outstanding.retain(|other| *other != n);
                format!(
                    "{{\"ok\":false,\"n\":{n},\"code\":\"{code}\",\"field\":\"model\",\"message\":\"no\"}}\n"
                )
            }
            Say::TurnAway(code) => {
                format!("{{\"ok\":false,\"code\":\"{code}\",\"message\":\"not for you\"}}\n")
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() || matches!(said, Say::TurnAway(_)) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// An event that says which it is.
pub(crate) fn event(id: u64) -> Event {
    Event::completion("m").input_tokens(id).field("id", id).response_time(std::time::UNIX_EPOCH)
}

/// Which event a line has.
pub(crate) fn id_of(line: &str) -> u64 {
    let after = line.split("\"id\":").nth(1).expect("has an id");
    after[..after.find([',', '}']).unwrap()].parse().unwrap()
}

/// Looks until `holds`, and returns what was seen then.
pub(crate) fn until<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + AT_MOST;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain: {what}; last seen: {seen:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Finished spool files in a folder.
pub(crate) fn spool_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        revenium_event::spool::parse_name(name).is_some()
    });
    files.sort();
    files
}
