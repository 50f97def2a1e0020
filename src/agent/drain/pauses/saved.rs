//! Pauses across a restart.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::clock::Now;
use super::{PROBE_MAX, Pause, Pauses};

/// Bytes of the words that are kept: nine pauses fit a state's 4 KiB.
const WORDS_BYTES_MAX: usize = 180;

/// Kept by `Queue::put_state`, as JSON. Unknown members are ignored and missing ones default.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Saved {
    /// Tells whether key and URL are still those that met the pauses; tells nothing else of them.
    way: u32,
    pauses: Vec<SavedPause>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedPause {
    /// Absent for the whole profile.
    route: Option<u8>,
    since_ms: u64,
    status: u16,
    words: String,
    probes: u32,
    next_probe_ms: u64,
    is_sure: bool,
}

impl Pauses {
    /// What has to survive; empty if nothing has.
    pub(in super::super) fn save(&self, way: u32, now: Now) -> Vec<u8> {
        let pauses: Vec<SavedPause> = self
            .each()
            .map(|(route, pause)| SavedPause {
                route,
                since_ms: pause.since_ms,
                status: pause.status,
                words: cut(&pause.words),
                probes: pause.probes,
                next_probe_ms: now.wall_ms_at(pause.next_probe),
                is_sure: pause.is_sure,
            })
            .collect();
        if pauses.is_empty() {
            return Vec::new();
        }
        serde_json::to_vec(&Saved { way, pauses }).unwrap_or_default()
    }

    /// Takes up what [`Pauses::save`] gave; true if key or URL are others since. What cannot be read
    /// is as good as nothing: the routes find out again.
    pub(in super::super) fn restore(&mut self, bytes: &[u8], way: u32, now: Now) -> bool {
        let Ok(saved) = serde_json::from_slice::<Saved>(bytes) else { return false };
        for kept in saved.pauses {
            let pause = Pause {
                since: now.at,
                since_ms: kept.since_ms,
                status: kept.status,
                words: kept.words,
                probes: kept.probes.max(1),
                next_probe: now.instant_at(kept.next_probe_ms).min(now.at + PROBE_MAX),
                is_probing: false,
                met: VecDeque::new(),
                is_sure: kept.is_sure,
                waiting: None,
            };
            match kept.route {
                None => self.whole = Some(pause),
                Some(route) => self.routes.entry(route).or_default().pause = Some(pause),
            }
        }
        if saved.way != way {
            self.probe_now(now.at);
        }
        saved.way != way
    }
}

fn cut(words: &str) -> String {
    let mut end = words.len().min(WORDS_BYTES_MAX);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words[..end].to_owned()
}
