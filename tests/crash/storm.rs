//! The storm itself: lives of the agent, one after the other, and what has to hold at the end.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use revenium_agent::sandbox::read_journal;
use rustix::process::Signal;

use crate::agent::{Life, Log};
use crate::cast;
use crate::dice::Dice;
use crate::look::{self, Seen};
use crate::oracle::{self, Equals};
use crate::plan::{Moment, Plan, Round};
use crate::producer::Book;
use crate::stage::Stage;
use crate::support::{Home, KEY, Line, OTHER_KEY, Sandbox, completion, unused_address};
use crate::tally::Tally;
use crate::upstream::{self, Weather};

/// What the default profile's key is replaced with.
const NEW_KEY: &str = "rev_mk_zyxwvutsrq9876543210";
/// The stand-in knows each profile's key as an account of the profile's name.
const KEYS: [(&str, &str); 2] = [(KEY, "default"), (OTHER_KEY, "other")];
const NEW_KEYS: [(&str, &str); 2] = [(NEW_KEY, "default"), (OTHER_KEY, "other")];
/// With these it ends.
const LAST_KEYS: [(&str, &str); 2] = [("hak_lastlastlastlast", "default"), ("hak_otherotherother1", "other")];
/// Requests in flight, so that a key that is suddenly refused isn't refused too often.
const IN_FLIGHT_MAX: u64 = 64;
/// Attempts of one life with a refused key: what was in flight when the first answer came, and a
/// few to be sure.
const WRONG_KEY_ATTEMPTS_MAX: u64 = IN_FLIGHT_MAX + 16;
const EQUAL_LINES: usize = 1_000;
/// A kill with nothing waiting isn't waited for longer: records may wait for their next try.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Nor one after some deliveries: the upstream may be out.
const DELIVERIES_MAX: Duration = Duration::from_secs(2);
/// The last life is in the storm until little waits, or for so long.
const LAST_STORM_MAX: Duration = Duration::from_secs(20);
const LITTLE: u64 = 200;
/// After the last fault something is delivered within that: a few tries of ever longer waits.
const STUCK_MAX: Duration = Duration::from_secs(300);
const LOOK_EACH: Duration = Duration::from_millis(20);

#[test]
fn what_was_acknowledged_is_billed_once_however_often_the_agent_is_killed() {
    let mut storm = Storm::new(Plan::from_environment());
    let (stage, producers) = cast::start(&storm.home, &storm.relay, &mut storm.dice);
    let began = Instant::now();
    while storm.tally.kills < storm.plan.rounds {
        storm.round(&stage);
    }
    let (books, equals) = storm.finish(&stage, producers);
    storm.tally.took = began.elapsed();
    storm.judge(&books, &equals);
}

/// Everything a run consists of. When it panics it says how to repeat it.
struct Storm {
    plan: Plan,
    dice: Dice,
    home: Home,
    sandbox: Sandbox,
    relay: String,
    log: Arc<Log>,
    tally: Tally,
    weather: Weather,
    start_took: Duration,
    has_wrong_key: bool,
    last: Vec<String>,
}

impl Drop for Storm {
    fn drop(&mut self) {
        if thread::panicking() || self.plan.keeps_all {
            let data = self.home.path("data");
            let home = data.parent().expect("has a parent");
            let kept = home.with_file_name(format!("revenium-crash-{}", self.plan.seed));
            // The temporary folder's own end then finds nothing to remove.
            let moved = fs::rename(home, &kept);
            let _ = writeln!(io::stderr(), "everything is kept in {} ({moved:?})", kept.display());
        }
        if thread::panicking() {
            self.tally.upstream = upstream::snapshot(&self.sandbox);
            let (seed, rounds) = (self.plan.seed, self.plan.rounds);
            let last = self.last.iter().rev().take(5).rev().map(|round| format!("  {round}\n"));
            let _ = writeln!(
                io::stderr(),
                "{}repeat with REVENIUM_CRASH_SEED={seed} REVENIUM_CRASH_ROUNDS={rounds}\n\
                 the last rounds:\n{}the agent's last lines:\n{}",
                self.tally,
                last.collect::<String>(),
                self.log.tail()
            );
        }
    }
}

impl Storm {
    fn new(plan: Plan) -> Self {
        let _ = writeln!(io::stderr(), "crash storm: seed {}, {} rounds", plan.seed, plan.rounds);
        let mut dice = Dice::new(plan.seed);
        let home = Home::new();
        home.write("other", OTHER_KEY);
        let log = Log::new(&home.path("agent.log"));
        let keys = KEYS.map(|(key, account)| format!("{key}={account}"));
        let seed = dice.throw().to_string();
        let args = ["--key", &keys[0], "--key", &keys[1], "--faults", &seed];
        let sandbox = Sandbox::start(&home.path("journal"), &args);
        let relay = unused_address();
        let other = format!(
            "relay.listen = \"{relay}\"\nprofiles.other.url = \"{}\"\nprofiles.other.api_key_file = \"other\"\ndrain.backoff_max = \"2s\"\ndrain.in_flight_max = {IN_FLIGHT_MAX}\n",
            sandbox.url()
        );
        home.deliver_to(&sandbox, &other);
        upstream::set_weather(&sandbox, Weather::Storm, &mut dice);
        Self {
            plan,
            dice,
            home,
            sandbox,
            relay,
            log,
            tally: Tally { seed: plan.seed, ..Tally::default() },
            weather: Weather::Storm,
            start_took: Duration::from_millis(300),
            has_wrong_key: false,
            last: Vec::new(),
        }
    }

    /// One life.
    fn round(&mut self, stage: &Stage) {
        let round = Round::draw(&mut self.dice.fork(), stage.producers());
        self.last.push(format!("kill {}: {round:?}", self.tally.kills));
        self.turn_key();
        if let Some(weather) = round.weather {
            self.weather = weather;
            upstream::set_weather(&self.sandbox, weather, &mut self.dice);
        }
        let life = self.begin();
        let before = stage.acknowledged();
        stage.allow(&round.more);
        match round.moment {
            Moment::Starting(percent) => {
                thread::sleep(self.start_took * percent / 100);
                life.kill();
                self.tally.in_start += 1;
            }
            Moment::Acknowledged(events, then) => {
                stage.wait_acknowledged(before + events);
                thread::sleep(then);
                life.kill();
                self.tally.after_acknowledgement += 1;
            }
            Moment::Running(so_long) => {
                self.wait_started(&life);
                thread::sleep(so_long);
                self.look();
                life.kill();
                self.tally.running += 1;
            }
            Moment::Delivered(events) => {
                self.wait_started(&life);
                let delivered = self.look().delivered;
                self.wait_until(DELIVERIES_MAX, |seen| seen.delivered >= delivered + events);
                life.kill();
                self.tally.running += 1;
            }
            Moment::Idle => {
                self.wait_started(&life);
                stage.wait_quiet();
                upstream::set_weather(&self.sandbox, Weather::Calm, &mut self.dice);
                let is_idle = self.wait_until(IDLE_MAX, |seen| seen.waiting == 0);
                upstream::set_weather(&self.sandbox, self.weather, &mut self.dice);
                life.kill();
                *(if is_idle { &mut self.tally.idle } else { &mut self.tally.running }) += 1;
            }
            Moment::Outliving(events) => {
                stage.set_outliving(true);
                self.wait_started(&life);
                stage.wait_acknowledged(before + events);
                stage.wait_quiet();
                life.signal(Signal::TERM);
                assert!(life.wait_end().success(), "a stop in peace");
                stage.set_outliving(false);
                self.tally.outlived += 1;
                return;
            }
            Moment::Stopping(events, then) => {
                self.wait_started(&life);
                stage.wait_acknowledged(before + events);
                life.signal(Signal::TERM);
                thread::sleep(then);
                if !life.kill_if_there() {
                    self.tally.stops += 1;
                    return;
                }
                self.tally.stopping += 1;
            }
        }
        self.tally.kills += 1;
        self.tally.wrong_key_lives += u64::from(self.has_wrong_key);
        self.log.assert_no_errors();
        if round.loses_index {
            self.lose_index();
        }
    }

    fn begin(&mut self) -> Life {
        self.tally.duplicates += std::mem::take(&mut self.tally.life_duplicates);
        Life::begin(&self.home, &self.log)
    }

    /// Takes the default profile's key out of use for some rounds, and then gives it another.
    fn turn_key(&mut self) {
        let is_wrong = self.plan.has_wrong_key(self.tally.kills);
        if is_wrong == self.has_wrong_key {
            return;
        }
        self.has_wrong_key = is_wrong;
        if is_wrong {
            upstream::set_keys(&self.sandbox, &KEYS[1..]);
        } else {
            upstream::set_keys(&self.sandbox, &NEW_KEYS);
            self.replace_key("key", NEW_KEY);
        }
    }

    fn wait_started(&mut self, life: &Life) {
        self.start_took = life.wait_started();
        self.tally.start_longest = self.tally.start_longest.max(self.start_took);
    }

    fn look(&mut self) -> Seen {
        let seen = look::look(&self.home);
        self.tally.life_duplicates = seen.duplicates;
        self.tally.waiting_most = self.tally.waiting_most.max(seen.waiting);
        seen
    }

    /// Looks until `holds`; false if it didn't come to that in time.
    fn wait_until(&mut self, at_most: Duration, holds: impl Fn(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            if holds(&self.look()) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK_EACH);
        }
    }

    fn lose_index(&mut self) {
        let store = self.home.path("data/store");
        if !store.is_dir() {
            // The very first life was killed before it came to that.
            return;
        }
        for entry in fs::read_dir(store).expect("listed") {
            let entry = entry.expect("listed");
            if entry.file_name().as_encoded_bytes().starts_with(b"index-") {
                fs::remove_dir_all(entry.path()).expect("removed");
            }
        }
        self.tally.index_losses += 1;
    }

    /// One last life, to the end: all is answered, a thousand equal lines, all is delivered.
    fn finish(&mut self, stage: &Stage, producers: Vec<JoinHandle<Book>>) -> (Vec<Book>, Equals) {
        upstream::set_weather(&self.sandbox, Weather::Storm, &mut self.dice);
        let life = self.begin();
        self.wait_started(&life);
        stage.wait_quiet();
        stage.finish();
        let books = producers.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let equals = self.send_equals();
        let is_long = u32::try_from(self.plan.rounds / 100).unwrap_or(u32::MAX);
        self.wait_until(LAST_STORM_MAX * (1 + is_long), |seen| seen.waiting <= LITTLE);
        upstream::set_weather(&self.sandbox, Weather::Calm, &mut self.dice);
        // A pause that the storm left is probed at once with another key, else within minutes.
        upstream::set_keys(&self.sandbox, &[KEYS, NEW_KEYS, LAST_KEYS].concat());
        self.replace_key("key", LAST_KEYS[0].0);
        self.replace_key("other", LAST_KEYS[1].0);
        life.signal(Signal::HUP);
        self.wait_drained();
        life.signal(Signal::TERM);
        assert!(life.wait_end().success(), "a stop in peace");
        let life = self.begin();
        self.wait_started(&life);
        self.wait_drained();
        self.tally.duplicates += std::mem::take(&mut self.tally.life_duplicates);
        let last = self.look();
        (self.tally.delivered, self.tally.dead) = (last.delivered, last.dead);
        life.signal(Signal::TERM);
        assert!(life.wait_end().success(), "another stop in peace");
        (books, equals)
    }

    /// However much waits, as long as it becomes less.
    fn wait_drained(&mut self) {
        let mut least = u64::MAX;
        while least > 0 {
            let is_less = self.wait_until(STUCK_MAX, |seen| seen.is_ready && seen.waiting < least);
            assert!(is_less, "nothing was delivered within {STUCK_MAX:?}: {:#}", self.home.status());
            least = self.look().waiting;
        }
    }

    fn replace_key(&self, name: &str, key: &str) {
        self.home.write("key.new", key);
        fs::rename(self.home.path("key.new"), self.home.path(name)).expect("replaced");
    }

    fn send_equals(&self) -> Equals {
        let marker = "equal";
        let line = completion("equal").replacen('{', "{\"marker\":\"equal\",", 1) + "\n";
        let mut connection = Line::connect(&self.home.socket());
        connection.send(line.repeat(EQUAL_LINES).as_bytes());
        let keys = (0..EQUAL_LINES).map(|_| {
            let answer = connection.answer().expect("an answer to each");
            answer["id"].as_str().unwrap_or_else(|| panic!("not acknowledged: {answer}")).to_owned()
        });
        Equals { marker, keys: keys.collect() }
    }

    fn judge(&mut self, books: &[Book], equals: &Equals) {
        let journal = read_journal(&self.home.path("journal")).expect("a journal");
        let verdict = oracle::judge(&journal, books, equals);
        self.tally.upstream = upstream::snapshot(&self.sandbox);
        self.tally.ways.clone_from(&verdict.ways);
        self.tally.resent = books.iter().map(|book| book.resent).sum();
        self.tally.connections = books.iter().map(|book| book.connections).sum();
        self.tally.print();
        let _ = writeln!(io::stderr(), "  warnings   {:?}", self.log.warnings());
        verdict.assert_flawless();
        self.log.assert_no_errors();
        let (delivered, dead) = (self.tally.delivered, self.tally.dead);
        assert_eq!(delivered + dead, verdict.tried, "the ledger counts each record once: {verdict:?}");
        // One that was billed before it was refused may be either; one whose refusal was never heard is not.
        let dead_may_be = verdict.refused_unbilled..=verdict.refused;
        assert!(dead_may_be.contains(&dead), "{dead} dead letters, {dead_may_be:?} may be");
        let attempts_max = WRONG_KEY_ATTEMPTS_MAX * (self.tally.wrong_key_lives + 1);
        upstream::assert_content(&self.tally.upstream, attempts_max);
    }
}
