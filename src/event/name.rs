//! From a member's name to its field: a hash table that the compiler builds.
//!
//! A name that is not found as it is, is looked up again as `camelCase` if it is `snake_case`, so
//! every wire name has its twin without being listed twice.

use crate::field::{FIELDS, Field, SPECS};

/// The field that `name` spells, in `camelCase` or `snake_case`.
pub(crate) fn find(name: &[u8]) -> Option<Field> {
    if let Some(field) = exact(name) {
        return Some(field);
    }
    let mut camel = [0; NAME_BYTES_MAX];
    exact(camel_case(name, &mut camel)?)
}

/// Longest wire name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// `input_token_count` as `inputTokenCount`, written into `out`. None if it is no snake_case.
fn camel_case<'a>(name: &[u8], out: &'a mut [u8; NAME_BYTES_MAX]) -> Option<&'a [u8]> {
    let (mut length, mut starts_word) = (0, false);
    for &byte in name {
        match byte {
            b'_' if length == 0 || starts_word => return None,
            b'_' => starts_word = true,
            b'a'..=b'z' | b'0'..=b'9' => {
                *out.get_mut(length)? = if starts_word { byte.to_ascii_uppercase() } else { byte };
                length += 1;
                starts_word = false;
            }
            _ => return None,
        }
    }
    (!starts_word).then_some(&out[..length])
}

/// Slots of the name table: sparse, so that most names are found, or found absent, at once.
const SLOTS: usize = 1024;

/// For each slot 0 if it is empty, else one more than the field's place in the table.
static NAMES: [u8; SLOTS] = names();

const fn names() -> [u8; SLOTS] {
    assert!(SPECS.len() < u8::MAX as usize, "a slot is a byte");
    let mut slots = [0; SLOTS];
    let mut at = 0;
    while at < SPECS.len() {
        let name = SPECS[at].name.as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX, "a wire name is longer than NAME_BYTES_MAX");
        let mut slot = hash(name);
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        at += 1;
        #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
        {
            slots[slot] = at as u8;
        }
    }
    slots
}

/// Mixes the length and four bytes of a name that is not empty.
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    let (first, last) = (name[0] as usize, name[length - 1] as usize);
    let (middle, late) = (name[length / 2] as usize, name[length - length / 4 - 1] as usize);
    (length * 31 + first * 7 + middle * 61 + late * 131 + last * 17) % SLOTS
}

fn exact(name: &[u8]) -> Option<Field> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut slot = hash(name);
    while let Some(at) = NAMES[slot].checked_sub(1).map(usize::from) {
        if SPECS[at].name.as_bytes() == name {
            return Some(FIELDS[at]);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, Field, NAMES, SPECS, exact, hash};
    use crate::Kind;

    #[test]
    fn every_wire_name_is_found_and_its_snake_case_twin_too() {
        for (&field, spec) in FIELDS.iter().zip(SPECS) {
            assert_eq!(Field::spelled(spec.name), Some(field));
            let snake: String = spec.name.chars().fold(String::new(), |mut snake, letter| {
                if letter.is_ascii_uppercase() || spec.name.contains("Creation") && letter.is_ascii_digit() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
                snake
            });
            assert_eq!(Field::spelled(&snake), Some(field), "{snake}");
        }
    }

    #[test]
    fn what_is_nearly_a_name_is_none() {
        let near = ["", "_", "Model", "model_", "_model", "task__type", "task_Type", "taskTypes", "tasktype"];
        for name in near.into_iter().chain(["a_name_that_is_longer_than_any_that_the_wire_knows_of"]) {
            assert_eq!(Field::spelled(name), None, "{name}");
        }
    }

    #[test]
    fn the_name_table_is_nearly_free_of_collisions() {
        let displaced = SPECS.iter().filter(|spec| {
            let at = usize::from(NAMES[hash(spec.name.as_bytes())]);
            at == 0 || SPECS[at - 1].name != spec.name
        });
        assert!(displaced.count() * 5 < SPECS.len());
        assert_eq!(exact(b"model"), Some(Field::Model));
    }

    #[test]
    fn a_name_has_a_meaning_only_in_its_kinds() {
        assert_eq!(Field::SpanId.meant(Kind::Completion), Some(Field::TransactionId));
        assert_eq!(Field::Payload.meant(Kind::Completion), None);
        assert_eq!(Field::Payload.meant(Kind::Generic), Some(Field::Payload));
    }
}
