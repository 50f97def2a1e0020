//! What the agent says, and what it means for events.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use revenium_event::line::{Answer, Code};

use super::Carrier;
use crate::outcome::{DurableError, LossReason, Refused};
use crate::trouble::Trouble;

/// The pause before sending again what the agent had no room for; it doubles.
pub(super) const RESEND_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RESEND_PAUSE_MAX: Duration = Duration::from_secs(2);

impl Carrier {
    pub(super) fn read_answers(&mut self, now: Instant) {
        while let Some(stream) = self.stream.clone() {
            match (&*stream).read(self.inbox.room()) {
                Ok(0) => return self.lost(now),
                Ok(count) => {
                    self.inbox.filled(count);
                    self.take_answers(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lost(now),
            }
        }
    }

    fn take_answers(&mut self, now: Instant) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut turned_away = None;
        while let Some(line) = inbox.next() {
            let answer = line.ok().and_then(|line| Answer::parse(line).ok());
            turned_away = match answer {
                Some(Answer::Durable { upto }) => {
                    self.durable(upto, now);
                    None
                }
                Some(Answer::Refused { n: Some(n), code, field, message }) => {
                    self.refused(n, code, field.as_deref(), &message, now);
                    None
                }
                Some(Answer::Refused { n: None, code, message, .. }) => Some((code, message.into_owned())),
                _ => Some((Code::Invalid, "it does not answer as an agent does".to_owned())),
            };
            if turned_away.is_some() {
                break;
            }
        }
        self.inbox = inbox;
        if let Some((code, message)) = turned_away {
            self.turned_away(code, message, now);
        }
    }

    fn durable(&mut self, upto: u64, now: Instant) {
        let mut settled = std::mem::take(&mut self.settled);
        {
            let mut state = self.state();
            state.durable(upto, &mut settled);
            if !settled.is_empty() {
                state.trouble = None;
            }
        }
        if !settled.is_empty() {
            self.progressed(now);
            self.resend_pause = RESEND_PAUSE_FIRST;
            self.spooling.outage_ended();
            self.known.clear();
        }
        for line in settled.drain(..) {
            line.tell(Ok(()));
        }
        self.settled = settled;
    }

    fn refused(&mut self, n: u64, code: Code, field: Option<&str>, message: &str, now: Instant) {
        let line = self.state().refused(n, code);
        match line {
            Some(line) => {
                self.progressed(now);
                let (reason, field) = (LossReason::of(code), field.map(str::to_owned));
                let refused = Refused { reason, field, message: message.to_owned() };
                line.tell(Err(DurableError::Refused(refused)));
            }
            None if matches!(code, Code::Full | Code::Disk | Code::Stopping) => {
                if self.resend_at <= now {
                    self.resend_at = now + self.resend_pause;
                    self.resend_pause = (self.resend_pause * 2).min(RESEND_PAUSE_MAX);
                }
                self.trouble(Trouble::Refused { message: message.to_owned() });
            }
            // A resend's second answer.
            None => {}
        }
    }

    fn progressed(&mut self, now: Instant) {
        self.quiet_since = now;
        self.failures = 0;
        self.is_denied = false;
    }
}
