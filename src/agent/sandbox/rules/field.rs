//! What a rule can ask of a field.

/// What a field's value must be. Lengths are counted in characters.
#[derive(Debug)]
pub(super) enum Rule {
    /// Any scalar.
    Text,
    /// Any scalar; a longer one makes the record vanish.
    TextUpTo(usize),
    /// A text that holds JSON, such as the prompts.
    Json,
    /// 1 to so many characters of a class; anything else is refused.
    Token(Class, usize),
    JobId,
    Uuid,
    Time,
    OneOf(&'static [&'static str]),
    /// 0 to `max`, without fraction or exponent.
    Whole {
        max: i64,
    },
    /// Finite, and nearer to 0 than `below`.
    Decimal {
        below: f64,
    },
    Flag,
    Object,
}

/// Which characters a token may have: A-Z a-z 0-9 and a few others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    /// `_ -`
    Word,
    /// `. _ -`
    Dotted,
    /// `. _ : -`
    Coloned,
}

impl Class {
    pub(super) fn others(self) -> &'static str {
        match self {
            Self::Word => "_ -",
            Self::Dotted => ". _ -",
            Self::Coloned => ". _ : -",
        }
    }

    pub(super) fn contains(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || (byte.is_ascii_graphic() && self.others().as_bytes().contains(&byte))
    }
}

/// A member of a body.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) is_required: bool,
}

pub(super) const fn need(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, is_required: true }
}

pub(super) const fn may(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, is_required: false }
}

/// The cap that every SDK puts on a captured prompt.
pub(super) const PROMPT_CHARS_MAX: usize = 50_000;
