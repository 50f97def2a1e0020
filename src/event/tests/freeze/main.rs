//! What freezing promises, through the public API.

mod bad_input;
mod captures;
mod completion;
mod dialects;
mod guards;
mod identity;
mod kinds;
mod lines;
mod properties;
mod support;
