//! The operations, drawn at random.

use proptest::prelude::*;

use super::LANES;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Records of a lane: how many, how large, how they are identified.
    Append {
        lane: u8,
        n: u8,
        bytes: u16,
        identity: Identity,
    },
    /// The latest acknowledged identified record once more, with the same bytes or others.
    Resend {
        same: bool,
    },
    /// Claims and ends claims.
    Settle {
        lane: u8,
        newest: bool,
        n: u8,
        how: How,
    },
    /// The first dead letter once more, in its lane or another.
    RetryDead {
        lane: u8,
    },
    DiscardDead,
    /// Waits until every settlement is durable.
    Sync,
    Reopen(Loss),
    /// The power goes after some more writes and flushes; `lose` picks sectors.
    Crash {
        after: u8,
        lose: u64,
        then: Loss,
    },
    /// One flush fails.
    FailFlush,
    /// Keeps a copy of the index for later.
    KeepIndex,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Identity {
    None,
    Key,
    Number,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Delivered,
    Dead,
    Postponed,
    Released,
    Discarded,
}

/// What happens to the index while the store is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    Nothing,
    Deleted,
    Old,
    Flipped(u32),
    Truncated(u16),
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let identity = prop_oneof![Just(Identity::None), Just(Identity::Key), Just(Identity::Number)];
    let how = prop_oneof![
        6 => Just(How::Delivered),
        1 => Just(How::Dead),
        1 => Just(How::Postponed),
        1 => Just(How::Released),
        1 => Just(How::Discarded)
    ];
    let loss = || {
        prop_oneof![
            4 => Just(Loss::Nothing),
            2 => Just(Loss::Deleted),
            1 => Just(Loss::Old),
            1 => any::<u32>().prop_map(Loss::Flipped),
            1 => any::<u16>().prop_map(Loss::Truncated)
        ]
    };
    let op = prop_oneof![
        10 => (0..LANES, 1u8..9, 1u16..900, identity)
            .prop_map(|(lane, n, bytes, identity)| Op::Append { lane, n, bytes, identity }),
        2 => any::<bool>().prop_map(|same| Op::Resend { same }),
        10 => (0..LANES, any::<bool>(), 1u8..40, how)
            .prop_map(|(lane, newest, n, how)| Op::Settle { lane, newest, n, how }),
        1 => (0..LANES).prop_map(|lane| Op::RetryDead { lane }),
        1 => Just(Op::DiscardDead),
        2 => Just(Op::Sync),
        1 => loss().prop_map(Op::Reopen),
        2 => (0u8..12, any::<u64>(), loss()).prop_map(|(after, lose, then)| Op::Crash { after, lose, then }),
        1 => Just(Op::FailFlush),
        1 => Just(Op::KeepIndex)
    ];
    prop::collection::vec(op, 1..60)
}
