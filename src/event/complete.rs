//! What every record of a kind must have: completed where it follows from the rest, else refused.
//!
//! An amount is never made up. Times that are missing follow from the others and from the clock at
//! intake; an `Option` here is a field that nobody gave.

use crate::draft::Draft;
use crate::field::Field;
use crate::number::{self, COUNT_MAX};
use crate::{Kind, Minted, Refusal, text, time};

/// Completes the event, its `transactionId` apart.
pub(crate) fn complete(draft: &mut Draft<'_>, minted: &Minted) -> Result<(), Refusal> {
    let now_ms = i64::try_from(minted.now_ms).unwrap_or(i64::MAX);
    match draft.kind {
        Kind::Completion => {
            model(draft)?;
            tokens(draft)?;
            default(draft, Field::CostType, "\"AI\"");
            default(draft, Field::IsStreamed, "false");
            default(draft, Field::StopReason, "\"END\"");
            times(draft, now_ms);
            completion_start(draft);
        }
        Kind::Image | Kind::Audio | Kind::Video => {
            model(draft)?;
            amounts(draft)?;
            times(draft, now_ms);
        }
        Kind::Tool => {
            require(draft, Field::ToolId, "send the name of the tool that was called")?;
            if draft.said(Field::Timestamp).is_none() {
                draft.set(Field::Timestamp, time::from_ms(now_ms));
            }
        }
        Kind::Generic => require(draft, Field::Payload, "send an object whose members are what is metered")?,
        Kind::ApiRequest | Kind::ApiResponse => {
            // Minted here, it could not be the same in both halves.
            require(draft, Field::TransactionId, "send the id that the request and the response share")?;
            if draft.kind == Kind::ApiResponse {
                require(draft, Field::ResponseCode, "send the HTTP status")?;
            }
        }
    }
    Ok(())
}

fn require(draft: &Draft<'_>, field: Field, advice: &str) -> Result<(), Refusal> {
    match draft.said(field) {
        Some(_) => Ok(()),
        None => Err(Refusal::field(field.name(), format!("{} is missing; {advice}", field.name()))),
    }
}

fn default(draft: &mut Draft<'_>, field: Field, raw: &'static str) {
    if draft.said(field).is_none() {
        draft.set(field, raw);
    }
}

/// Model and provider. The provider follows from the model only where one company makes it.
fn model(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    require(draft, Field::Model, "send the model's name as the provider returned it")?;
    let is_claude = draft.said(Field::Model).is_some_and(|raw| raw.starts_with("\"claude"));
    if is_claude && draft.said(Field::Provider).is_none() {
        draft.set(Field::Provider, "\"ANTHROPIC\"");
    }
    require(draft, Field::Provider, "send who served the call, such as ANTHROPIC")
}

/// Token counts. The total is input and output; cached tokens are never added.
fn tokens(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    for field in [Field::InputTokenCount, Field::OutputTokenCount] {
        require(draft, field, "send the count, 0 for a call that failed")?;
    }
    if draft.said(Field::TotalTokenCount).is_some() {
        return Ok(());
    }
    let total = count(draft, Field::InputTokenCount) + count(draft, Field::OutputTokenCount);
    if total > COUNT_MAX {
        let message = format!("totalTokenCount, input and output together, must be at most {COUNT_MAX}");
        return Err(Refusal::field(Field::TotalTokenCount.name(), message));
    }
    draft.set(Field::TotalTokenCount, total.to_string());
    Ok(())
}

/// A count that has been guarded: at most 2^63-1, so two of them add up in 64 bits. Absent is 0.
pub(crate) fn count(draft: &Draft<'_>, field: Field) -> u64 {
    draft.raw(field).and_then(|raw| number::whole(raw).ok()).unwrap_or(0)
}

/// What a media record is billed by.
fn amounts(draft: &Draft<'_>) -> Result<(), Refusal> {
    match draft.kind {
        Kind::Image => {
            require(draft, Field::RequestedImageCount, "send how many images were asked for")?;
            require(draft, Field::ActualImageCount, "send how many images were made")
        }
        Kind::Video => require(draft, Field::DurationSeconds, "send the video's length"),
        _ => {
            let amounts = [
                Field::CharacterCount,
                Field::InputAudioTokenCount,
                Field::OutputAudioTokenCount,
                Field::InputTokenCount,
                Field::OutputTokenCount,
            ];
            if amounts.into_iter().any(|field| draft.said(field).is_some()) {
                return Ok(());
            }
            require(draft, Field::DurationSeconds, "send it, or characterCount, or token counts")
        }
    }
}

/// `requestTime`, `responseTime` and `requestDuration`, of which two give the third. Without the
/// response's time it is now, unless that lies before the request.
fn times(draft: &mut Draft<'_>, now_ms: i64) {
    let at = |field| draft.said(field).and_then(time::to_ms);
    let (request, response) = (at(Field::RequestTime), at(Field::ResponseTime));
    let duration = draft.said(Field::RequestDuration).and_then(|raw| number::whole(raw).ok());
    let duration = duration.and_then(|ms| i64::try_from(ms).ok());
    let response = response.unwrap_or_else(|| match (request, duration) {
        (Some(request), Some(duration)) => request.saturating_add(duration),
        (Some(request), None) => request.max(now_ms),
        (None, _) => now_ms,
    });
    let request = request.unwrap_or_else(|| {
        let start = at(Field::CompletionStartTime).unwrap_or(response);
        duration.map_or(start.min(response), |duration| response.saturating_sub(duration))
    });
    for (field, ms) in [(Field::RequestTime, request), (Field::ResponseTime, response)] {
        if draft.said(field).is_none() {
            draft.set(field, time::from_ms(ms));
        }
    }
    if draft.said(Field::RequestDuration).is_none() {
        draft.set(Field::RequestDuration, response.saturating_sub(request).max(0).to_string());
    }
}

/// When the answer began: after the time to the first token if that was measured, else at its end.
fn completion_start(draft: &mut Draft<'_>) {
    if draft.said(Field::CompletionStartTime).is_some() {
        return;
    }
    let at = |field| draft.said(field).and_then(time::to_ms);
    let first_token = draft.said(Field::TimeToFirstToken).and_then(|raw| number::whole(raw).ok());
    let response = draft.said(Field::ResponseTime).unwrap_or_default().to_owned();
    let start = match (at(Field::RequestTime), first_token.and_then(|ms| i64::try_from(ms).ok())) {
        (Some(request), Some(wait)) => {
            let start = request.saturating_add(wait);
            time::to_ms(&response).filter(|&end| start < end).map(|_| time::from_ms(start))
        }
        _ => None,
    };
    draft.set(Field::CompletionStartTime, start.unwrap_or(response));
}

/// The event's own `transactionId` as text, if it has one.
pub(crate) fn transaction_id(draft: &Draft<'_>) -> Option<String> {
    let raw = draft.said(Field::TransactionId)?;
    Some(text::decode(raw).map_or_else(|| raw.to_owned(), |text| text.into_owned()))
}
