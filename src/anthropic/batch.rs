//! One line of `/v1/messages/batches/{id}/results`.

use crate::Response;
use crate::members::Members;
use crate::response::{Ended, Failure};

/// The result of one call of a batch.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The application's name for the call, unique within its batch.
    pub custom_id: String,
    /// What the provider said; None if it never made the call, because the batch was cancelled or
    /// expired first. Such a call is not metered.
    pub response: Option<Response>,
}

/// Reads one line, with or without its newline. None if it is no result: an empty line, or one that was cut.
pub fn read(line: &[u8]) -> Option<Outcome> {
    let line = String::from_utf8_lossy(line.trim_ascii());
    let line = Members::read(&line)?;
    let custom_id = line.text("custom_id")?;
    let result = line.object("result")?;
    let response = match result.text("type").as_deref() {
        Some("succeeded") => Some(Response::of(&result.object("message")?)),
        // The error is wrapped once more, as the body of an answer would be.
        Some("errored") => Some(Response {
            ended: Ended::Error(Failure::of(result.object("error").as_ref())),
            ..Response::default()
        }),
        Some("canceled" | "expired") => None,
        _ => return None,
    };
    Some(Outcome { custom_id, response })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_result_is_told_apart() {
        let succeeded = read(br#"{"custom_id":"c-1","result":{"type":"succeeded","message":{"id":"msg_01","type":"message","model":"claude-opus-4","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":34,"service_tier":"batch"}}}}
"#).expect("is a result");
        let said = succeeded.response.expect("was made");
        assert_eq!(
            (&*succeeded.custom_id, said.id.as_deref(), said.ended),
            ("c-1", Some("msg_01"), Ended::Complete)
        );
        assert_eq!(
            said.usage.expect("states it").get(),
            r#"{"input_tokens":10,"output_tokens":34,"service_tier":"batch"}"#
        );

        let errored = read(br#"{"custom_id":"c-2","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"m"}}}}"#);
        let ended = errored.and_then(|result| result.response).expect("was made").ended;
        assert_eq!(
            ended,
            Ended::Error(Failure { kind: Some("invalid_request_error".to_owned()), ..Failure::default() })
        );

        for kind in ["canceled", "expired"] {
            let line = format!(r#"{{"custom_id":"c-3","result":{{"type":"{kind}"}}}}"#);
            assert!(read(line.as_bytes()).expect("is a result").response.is_none(), "{kind}");
        }
        for line in [
            "",
            "{",
            "[]",
            r#"{"custom_id":"c"}"#,
            r#"{"custom_id":"c","result":{"type":"new"}}"#,
            r#"{"custom_id":"c","result":{"type":"succeeded"}}"#,
        ] {
            assert!(read(line.as_bytes()).is_none(), "{line}");
        }
    }
}
