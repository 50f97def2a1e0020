//! A finding: what was looked at, how it is, and what to do. The table of all ids.

use serde::{Serialize, Serializer};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// This user may not look, or nothing can be said.
    Unknown,
    /// It works, or will by itself; a person should look.
    Warning,
    /// It does not work until a person mends it.
    Problem,
}

impl Level {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One look, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; never given another meaning.
    pub id: Id,
    /// How bad it is.
    pub level: Level,
    /// Which one: a profile, a path; empty if there is one only.
    pub subject: String,
    /// What was seen. Never a key, nor a body.
    pub cause: String,
    /// What to do, with the command if there is one.
    pub next: Option<String>,
}

impl Finding {
    pub(super) fn ok(id: Id, subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { id, level: Level::Ok, subject: subject.into(), cause: cause.into(), next: None }
    }

    pub(super) fn unknown(
        id: Id,
        subject: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Unknown, next: Some(next.into()), ..Self::ok(id, subject, cause) }
    }

    pub(super) fn warning(
        id: Id,
        subject: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, next: Some(next.into()), ..Self::ok(id, subject, cause) }
    }

    pub(super) fn problem(
        id: Id,
        subject: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Problem, next: Some(next.into()), ..Self::ok(id, subject, cause) }
    }
}

/// Declares the ids with their names and what each is about, once.
macro_rules! ids {
    ($($id:ident $name:literal $about:literal)*) => {
        /// What is looked at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Id {
            $(#[doc = $about] $id,)*
        }

        impl Id {
            /// Every id, with its name and what it is about, in the order in which they are printed.
            pub const ALL: &'static [(Self, &'static str, &'static str)] = &[$((Self::$id, $name, $about),)*];

            /// Its name, which scripts may rely on.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

ids! {
    Config "config" "the configuration can be used"
    Key "key" "each profile has a key, where the configuration says"
    KeyPermission "key.permission" "the agent may read the key, and other users may not"
    KeyShape "key.shape" "the key looks like one of Revenium's that may meter"
    Agent "agent" "an agent runs, and what it says of itself"
    Socket "socket" "somebody listens where applications send"
    SocketGroup "socket.group" "this user may send, and the socket's group exists"
    Spool "spool" "the spool folders can be used, and nothing is stuck in them"
    DiskWrite "disk.write" "the data directory can be written"
    StoreOwner "store.owner" "all of the data directory is the agent's"
    DiskSpace "disk.space" "there is room for the log beside the reserve"
    DiskGuarantee "disk.guarantee" "a flush reaches a device"
    Proxy "proxy" "the way out, and what the variables say of a proxy"
    Dns "dns" "the name of the upstream, or of the proxy, is found"
    Connect "connect" "a connection to it is accepted"
    Tls "tls" "its certificate is trusted"
    Portal "portal" "it is an API that answers, and not a page in between"
    Url "url" "Revenium's API is at the URL"
    Upstream "upstream" "the upstream is well"
    UpstreamKey "upstream.key" "the upstream accepts the key"
    Clock "clock" "this machine's clock agrees with the upstream's, and with the log"
}

impl Id {
    /// Whether an agent with a problem of this kind does not start (exit code 78).
    pub const fn is_of_configuration(self) -> bool {
        matches!(self, Self::Config | Self::Key | Self::KeyPermission | Self::KeyShape)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
