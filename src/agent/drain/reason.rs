//! Why a record became a dead letter: the codes that the store keeps, and their names.
//!
//! Codes are on disk: one is never given another meaning.

/// A dead letter's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The same identity came with other bytes; given by the store.
    Conflict,
    /// Well-formed JSON that intake refused.
    RefusedAtIntake,
    /// The upstream refused it for good.
    RefusedByUpstream,
    /// The upstream knows its key with other bytes: probably delivered before.
    Mismatch,
    /// The upstream failed over it for a day while others passed.
    Suspect,
    /// The upstream says that it is too large.
    TooLarge,
    /// It alone met a refusal that is not about records, again and again while others passed.
    RefusedAlone,
    /// It cannot be made a request.
    Unsendable,
}

impl Reason {
    /// All reasons, for metrics that are present from the start.
    pub const ALL: [Self; 8] = [
        Self::Conflict,
        Self::RefusedAtIntake,
        Self::RefusedByUpstream,
        Self::Mismatch,
        Self::Suspect,
        Self::TooLarge,
        Self::RefusedAlone,
        Self::Unsendable,
    ];

    /// The code kept with a dead letter.
    pub const fn code(self) -> u8 {
        match self {
            Self::Conflict => revenium_store::DEAD_REASON_CONFLICT,
            Self::RefusedAtIntake => 2,
            Self::RefusedByUpstream => 3,
            Self::Mismatch => 4,
            Self::Suspect => 5,
            Self::TooLarge => 6,
            Self::RefusedAlone => 7,
            Self::Unsendable => 8,
        }
    }

    /// The reason of a code; `None` for one of a newer version.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Its name in metrics, status and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::RefusedAtIntake => "refused-at-intake",
            Self::RefusedByUpstream => "refused-by-upstream",
            Self::Mismatch => "mismatch",
            Self::Suspect => "suspect",
            Self::TooLarge => "too-large",
            Self::RefusedAlone => "refused-alone",
            Self::Unsendable => "unsendable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_frozen() {
        let codes = Reason::ALL.map(|reason| (reason.code(), reason.name()));
        let frozen = [
            (1, "conflict"),
            (2, "refused-at-intake"),
            (3, "refused-by-upstream"),
            (4, "mismatch"),
            (5, "suspect"),
            (6, "too-large"),
            (7, "refused-alone"),
            (8, "unsendable"),
        ];
        assert_eq!(codes, frozen);
        assert!(Reason::ALL.iter().all(|reason| Reason::from_code(reason.code()) == Some(*reason)));
        assert_eq!(Reason::from_code(99), None);
    }
}
