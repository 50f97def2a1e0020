//! The public API, spelled out: what compiles here today is what applications were given. A line that has to be
//! changed is a breaking change, and wants a version that says so.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use revenium_emitter::{
    Builder, DISABLED_VARIABLE, DurableError, Emitted, Emitter, Event, EventError, FieldValue, FlushReport,
    Json, Kind, Loss, LossReason, Refused, Stats, Subscriber, Trouble, link, place, spool,
};

#[test]
fn the_public_api_is_what_it_was() {
    let _: fn() -> Emitter = Emitter::new;
    let _: fn() -> Builder = Emitter::builder;
    let _: fn(&Emitter, Event) -> Emitted = Emitter::emit;
    let _: fn(&Emitter, Event, Duration) -> Result<(), DurableError> = Emitter::emit_durable;
    let _: fn(&Emitter, Duration) -> FlushReport = Emitter::flush;
    let _: fn(&Emitter) -> Stats = Emitter::stats;
    let _: fn(&Emitter) -> Option<Trouble> = Emitter::last_error;

    let _: fn(Builder, &'static str) -> Builder = Builder::profile;
    let _: fn(Builder, PathBuf) -> Builder = Builder::socket;
    let _: fn(Builder, PathBuf) -> Builder = Builder::spool;
    let _: fn(Builder, usize) -> Builder = Builder::memory_bytes_max;
    let _: fn(Builder, u64) -> Builder = Builder::spool_bytes_max;
    let _: fn(Builder, bool) -> Builder = Builder::buffered;
    let _: fn(Builder, Duration) -> Builder = Builder::close_within;
    let _: fn(Builder, fn(&Loss)) -> Builder = Builder::on_loss;
    let _: fn(Builder, fn(&Trouble)) -> Builder = Builder::on_trouble;
    let _: fn(Builder) -> Emitter = Builder::build;

    let _: fn(&str) -> Event = Event::completion;
    let _: fn(&str) -> Event = Event::tool;
    let _: fn(Kind) -> Event = Event::of_kind;
    let _: fn(&'static [u8]) -> Result<Event, EventError> = Event::from_json;
    let texts: [fn(Event, &str) -> Event; 11] = [
        Event::provider,
        Event::transaction_id,
        Event::trace_id,
        Event::task_type,
        Event::agent,
        Event::organization,
        Event::product,
        Event::subscription_id,
        Event::stop_reason,
        Event::profile,
        |event, value| event.field("x", value),
    ];
    let counts: [fn(Event, u64) -> Event; 6] = [
        Event::input_tokens,
        Event::output_tokens,
        Event::total_tokens,
        Event::cache_read_tokens,
        Event::cache_creation_tokens,
        Event::reasoning_tokens,
    ];
    let _: fn(Event, bool) -> Event = Event::streamed;
    let _: fn(Event, f64) -> Event = Event::response_quality_score;
    let _: [fn(Event, SystemTime) -> Event; 2] = [Event::request_time, Event::response_time];
    let _: [fn(Event, Duration) -> Event; 2] = [Event::duration, Event::time_to_first_token];
    let _: fn(Event, Subscriber) -> Event = Event::subscriber;
    let _: fn(&'static str) -> Result<Json<'static>, EventError> = Json::new;
    let event = texts.into_iter().fold(Event::completion("m"), |event, set| set(event, "v"));
    let event = counts.into_iter().fold(event, |event, set| set(event, 1));
    assert!(format!("{event:?}").starts_with("Event(completion, "));

    let _: fn(&DurableError) -> bool = DurableError::may_be_durable;
    let _: fn(&FlushReport) -> bool = FlushReport::is_complete;
    let _: fn(&Stats, LossReason) -> u64 = Stats::lost;
    let _: [fn(&Stats) -> u64; 2] = [Stats::dropped, Stats::refused];
    let _: fn(&Refused) -> LossReason = |refused| refused.reason;
    let _: fn(&Path, &[PathBuf], Duration) -> std::io::Result<spool::Report> = spool::hand_in;
    let _: fn(&Path) -> std::io::Result<std::os::unix::net::UnixStream> = link::connect_now;
    let _: fn(&Path) -> std::io::Result<()> = link::check_owner;
    let _: fn() -> Vec<PathBuf> = place::sockets;
    let _: fn(&Path) -> PathBuf = place::spool;
    assert_eq!(DISABLED_VARIABLE, "REVENIUM_METERING_DISABLED");
}

#[test]
fn handles_and_reports_may_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Emitter>();
    anywhere::<Event>();
    anywhere::<Loss>();
    anywhere::<Trouble>();
    anywhere::<DurableError>();
    #[cfg(feature = "async")]
    anywhere::<revenium_emitter::Durable>();
}

#[test]
fn values_of_all_these_types_are_taken() {
    fn taken(_: impl FieldValue) {}
    taken("text");
    taken(String::new());
    taken(1u8);
    taken(1u16);
    taken(1u32);
    taken(1u64);
    taken(1usize);
    taken(-1i8);
    taken(-1i16);
    taken(-1i32);
    taken(-1i64);
    taken(0.5);
    taken(true);
    taken(Some("text"));
    taken(Subscriber::new());
}
