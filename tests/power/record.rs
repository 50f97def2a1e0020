//! The records that are stored, each made from a number alone, so that whoever finds one knows what it
//! has to be.

use revenium_store::{NewRecord, ProducerId, Record};

use crate::dice::Dice;
use crate::store;

pub(crate) const LANES: u8 = 3;
const BYTES_MAX: u64 = 900;

/// How a record is recognised when it is handed over again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    None,
    Key,
    Number,
}

pub(crate) fn identity(n: u64) -> Identity {
    match n % 3 {
        0 => Identity::None,
        1 => Identity::Key,
        _ => Identity::Number,
    }
}

/// The record with this number.
pub(crate) fn make(n: u64) -> NewRecord {
    let mut dice = Dice::new(n).fork();
    let lane = u8::try_from(dice.between(0..=u64::from(LANES) - 1)).expect("is small");
    let bytes = usize::try_from(dice.between(1..=BYTES_MAX)).expect("is small");
    let mut body = format!("{n}:");
    while body.len() < bytes {
        body.push_str(&format!("{:x}", dice.throw()));
    }
    let mut record = store::record(lane, &format!("key-{n}"), &body);
    record.fingerprint = n;
    match identity(n) {
        Identity::None => {}
        Identity::Key => record.key_is_identity = true,
        Identity::Number => record.number = Some((ProducerId([9; 16]), n / 3)),
    }
    record
}

/// The number of a record that was found, if it is as it was made.
pub(crate) fn number_of(found: &Record) -> Result<u64, String> {
    let text = store::text(found);
    let n: Option<u64> = text.split_once(':').and_then(|(n, _)| n.parse().ok());
    let n = n.ok_or_else(|| format!("{} holds what nobody handed over: {text}", found.seq))?;
    let made = make(n);
    if (&made.body, &made.key, &made.lane) != (&found.body, &found.key, &found.lane) {
        return Err(format!("{n} is not what it was: {found:?}"));
    }
    Ok(n)
}
