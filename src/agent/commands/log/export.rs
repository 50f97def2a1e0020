//! `log export`: every event that the log still holds, so that nothing is locked in.

use std::io::{self, BufWriter, Write};

use revenium_event::{Kind, masked};
use revenium_store::{Exported, Fate, SurveyError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::ExportArgs;
use crate::commands::{LogPlace, as_object, count, create_private, time};
use crate::exit::{Exit, Failure, OrExit};
use crate::queue::Record;

pub(super) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let place = LogPlace::of(&args.config)?;
    let take = |out: &mut dyn Write| {
        let done = revenium_store::export(&place.log, |record, fate| line(record, fate, args.reveal, out))?;
        out.flush().map_err(SurveyError::Taker)?;
        Ok(done)
    };
    let (done, to) = match &args.output {
        None => (take(&mut BufWriter::new(io::stdout().lock())), String::new()),
        Some(path) => {
            let file = create_private(path)?;
            let done = take(&mut BufWriter::new(&file))
                .and_then(|done| file.sync_all().map(|()| done).map_err(SurveyError::Taker));
            // Half a file would pass for all of it.
            let done = done.inspect_err(|_| drop(std::fs::remove_file(path)));
            (done, format!(" to {}", path.display()))
        }
    };
    let Exported { records, damaged } = match done {
        // Whoever reads has enough, as `head`.
        Err(SurveyError::Taker(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
        done => done.or_exit(Exit::Usage, "the log cannot be exported")?,
    };
    let how = if args.reveal { ", credentials and prompts included" } else { "" };
    eprintln!("exported: {}{how}{to}", count(records, "event"));
    if damaged == 0 {
        return Ok(Exit::Ok);
    }
    let places = count(damaged, "damaged place");
    eprintln!("what lay in {places} cannot be read: `revenium-agent log verify` says which events");
    Ok(Exit::Failure)
}

fn line(record: &Record, fate: Fate, reveal: bool, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        seq: u64,
        profile: &'a str,
        kind: &'a str,
        state: &'a str,
        key: &'a str,
        received_at: String,
        body: Box<RawValue>,
    }
    let body = String::from_utf8_lossy(&record.body);
    let line = Line {
        seq: record.seq.0,
        profile: &record.lane.profile,
        kind: Kind::from_code(record.lane.route).map_or("other", Kind::name),
        state: fate.name(),
        key: &record.key,
        received_at: time(record.received_at_ms),
        body: if reveal { as_object(&body)? } else { as_object(&masked(&body))? },
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
