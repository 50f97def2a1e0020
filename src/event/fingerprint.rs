//! What a key is called where it may not be shown: the name of its profile. Pure.
//!
//! A client that names its profile so is billed to whoever has the key, whatever agent it meets, and needs to know no
//! agent's configuration. It is a hash (UUIDv5, which is SHA-1), and keys are random: it does not lead back to them.

use uuid::Uuid;

/// How such names begin.
pub const PREFIX: &str = "key-";

/// Hexadecimal digits after it. 64 bits: two of 64 keys share them with a chance of 1 in 10^16.
const DIGITS: usize = 16;

/// Namespace: UUIDv5(DNS, "key.revenium-agent"). Frozen: these names are in logs.
const KEYS: Uuid = Uuid::from_u128(0x2600_2cad_875a_596a_b3f0_73d9_462f_dd55);

/// The name of the profile of this key.
pub fn of(key: &[u8]) -> String {
    let hash = Uuid::new_v5(&KEYS, key).simple().to_string();
    format!("{PREFIX}{}", &hash[..DIGITS])
}

/// Whether a key could have this name.
pub fn is_one(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = name.strip_prefix(PREFIX);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(is_digit))
}
