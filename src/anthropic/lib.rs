//! From what Anthropic's API said about a call to the event that is billed.
//!
//! A client, a gateway or a middleware gathers the facts of a call: of a body in one piece by [`Response::read`],
//! of a stream by [`Stream`], of a batch's results by [`batch::read`], or of an SDK's objects by itself. Who
//! stands between the two sides and sees bytes pass reads them by [`Asked`] and [`Answer`]. It writes them as a
//! [`Call`], a line of JSON ([`call`] has the format). The agent makes events of it ([`freeze()`]). [`Route`]
//! says what is metered at all.
//!
//! Pure: no clock, no I/O, no async; time is an argument. Every input has an outcome, and none a panic. What is
//! kept of a body or stream is bounded. Amounts are copied as digits.
//!
//! ```
//! use revenium_anthropic::{Call, Response, freeze};
//! use revenium_event::{Identity, Minted};
//!
//! let body = br#"{"id":"msg_01","type":"message","model":"claude-opus-4","content":[],
//!     "stop_reason":"end_turn","usage":{"input_tokens":25,"output_tokens":15}}"#;
//! let call = Call { response: Response::read(200, body), duration_ms: Some(143), ..Call::default() };
//! let minted = Minted { now_ms: 1_795_419_848_263, random: [7; 16] };
//! let events = freeze(call.to_line().as_bytes(), &Identity::Body, &minted)?;
//! assert_eq!(events[0].transaction_id, "msg_01");
//! assert_eq!((events[0].tokens.input, events[0].tokens.output), (25, 15));
//! # Ok::<(), revenium_event::Refusal>(())
//! ```

mod answer;
mod asked;
pub mod batch;
pub mod call;
mod ending;
mod event;
mod facts;
mod members;
mod provider;
mod response;
mod results;
mod route;
mod skim;
mod sse;
mod stream;
mod usage;

pub use answer::{Answer, Head};
pub use asked::Asked;
pub use call::{Call, Prompts, Request};
pub use event::{call_id, freeze, is_call, is_pass_of};
pub use response::{Ended, Failure, Response};
pub use route::{METERED, Route};
pub use stream::{By, Stream};
