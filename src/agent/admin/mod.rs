//! What an operator sees of a running agent, over HTTP.
//!
//! Two doors, one service: `[admin].listen` for machines and browsers, and a Unix socket in the
//! data directory for `revenium-agent status`, which alone also tells `/status` in full. Parts
//! report to the [`Board`]; the doors only read it. What changes anything is the `desk`'s, and asked
//! of it by POST to the control socket only.

mod board;
mod control;
mod health;
mod page;
mod post;
mod route;
mod serve;
mod status;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use board::now_ms;
pub use board::{Board, DrainView, Facts, PauseView, ProfileFacts};
pub use control::{AskError, ControlSocket, ask, has_control_socket, post};
pub use health::{Health, judge};
pub use route::Door;
pub use serve::{Listener, Shown, serve};
pub use status::{Pace, Pause, ProfileStatus, SpoolStatus, Status};
