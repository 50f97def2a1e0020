//! Who used what is metered.

use std::fmt;

use crate::json::sealed::Value;
use crate::json::{self, member};

/// Who used it: an id, an address, a credential, each of them optional.
#[derive(Clone, Default)]
pub struct Subscriber {
    members: Vec<u8>,
}

impl Subscriber {
    /// Nobody in particular yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Their id with you.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        member(&mut self.members, "id", id);
        self
    }

    /// Their address.
    #[must_use]
    pub fn email(mut self, email: &str) -> Self {
        member(&mut self.members, "email", email);
        self
    }

    /// The credential that they used: its name, and its value or an alias of it.
    #[must_use]
    pub fn credential(mut self, name: &str, value: &str) -> Self {
        self.members.extend_from_slice(b",\"credential\":{\"name\":");
        json::text(&mut self.members, name);
        member(&mut self.members, "value", value);
        self.members.push(b'}');
        self
    }

    /// It as a JSON object, its credential included.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        // Texts went in, and nothing is cut.
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Value for Subscriber {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(self.members.get(1..).unwrap_or_default());
        out.push(b'}');
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({} bytes)", self.members.len())
    }
}
