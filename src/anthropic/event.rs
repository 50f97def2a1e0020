//! From the facts of a call to its events, frozen.

use revenium_event::{
    Frozen, Identity, Minted, Reason, Refusal, RefusalCode, What, derived_key, freeze_made, time_from_ms,
};

use crate::facts::{Facts, invalid};
use crate::members::{Members, Writer, quoted, says};
use crate::provider::{self, Provider};
use crate::usage::{AMOUNTS, Usage};

/// Most passes of one call that are billed apart.
// Each is an event with all of the call's metadata. A call of today has a handful.
const PASSES_MAX: usize = 64;

/// Most bytes of all events of one call together.
// As one event alone: whoever has room for a batch and one event more has room for a call.
const EVENTS_BYTES_MAX: usize = revenium_event::limits::BODY_BYTES_MAX;

/// Members of the metadata that override what a call costs: of a pass, nobody said what it costs.
const COSTS: [&str; 5] =
    ["inputTokenCost", "outputTokenCost", "cacheCreationTokenCost", "cacheReadTokenCost", "totalCost"];

/// What stands between a call's `transactionId` and a pass's number in that of the pass.
const PASS: &str = "-iteration-";

/// Freezes the events of one `call` line: the call's own first, then one for each pass that is billed
/// outside of its totals. All are taken or none. At most 64 passes, and 1 MiB in all.
///
/// The first event has the key that `identity` gives a line; the others' follow from it, and each names the
/// first as its parent. Keys and fingerprints follow from the bytes that were received, so a resend is
/// recognised by a later release too. Pure: the same arguments give the same result.
pub fn freeze(line: &[u8], identity: &Identity<'_>, minted: &Minted) -> Result<Vec<Frozen>, Refusal> {
    let line = line.trim_ascii();
    let mut facts = Facts::read(line)?;
    let mut event = common(&facts, &|_| false);
    event.put_some("transactionId", transaction_id(&facts).as_deref());
    event.put_text("model", &facts.model());
    own(&mut facts, &mut event);
    let mut main = freeze_made(written(event).as_bytes(), line, identity, minted)
        .map_err(|refusal| named(refusal, "call.usage"))?;
    main.warnings.append(&mut facts.warnings);

    let passes = facts.usage.billed();
    if passes.len() > PASSES_MAX {
        let field = "call.usage.iterations";
        return Err(too_large(
            field,
            format!(
                "{field} has {} passes that are billed apart; at most {PASSES_MAX} are taken",
                passes.len()
            ),
        ));
    }
    let mut events = vec![main];
    for (at, pass) in passes {
        let event = pass_of(&facts, &events[0], at, &pass)?;
        let key = derived_key(&events[0].idempotency_key, &format!("iteration-{at}"));
        let mut frozen = freeze_made(event.as_bytes(), line, &Identity::Key(&key), minted)
            .map_err(|refusal| named(refusal, &format!("call.usage.iterations[{at}]")))?;
        frozen.key_is_identity = events[0].key_is_identity;
        events.push(frozen);
        if events.iter().map(|event| event.body.len()).sum::<usize>() > EVENTS_BYTES_MAX {
            return Err(too_large(
                "call",
                format!("the events of the call have more than {EVENTS_BYTES_MAX} bytes together"),
            ));
        }
    }
    Ok(events)
}

/// Whether a line has a `call`, and so is for [`freeze()`] rather than for that of an event.
pub fn is_call(line: &[u8]) -> bool {
    // Most lines are events; they cost a look and no parse.
    if memchr::memmem::find(line, b"\"call\"").is_none() {
        return false;
    }
    let line = std::str::from_utf8(line).ok().and_then(|line| Members::read(line.trim()));
    line.is_some_and(|line| line.get("call").is_some())
}

/// The id of the provider's answer, as a `call` line says it: what its event has, or would have, for a `transactionId`.
pub fn call_id(line: &[u8]) -> Option<String> {
    let line = Members::read(std::str::from_utf8(line).ok()?.trim())?;
    line.object("call")?.text("id")
}

/// What the call's own event has and those of its passes do not.
fn own(facts: &mut Facts<'_>, event: &mut Writer) {
    facts.usage.put_amounts(event);
    facts.ending.put(event);
    event.put_some("speed", facts.usage.label("speed"));
    let vision = facts.request.get("has_vision").filter(|raw| *raw != "false");
    event.put_some("hasVisionContent", vision);
    if let Some(prompts) = facts.call.object("prompts") {
        event.put_some("systemPrompt", prompts.get("system"));
        event.put_some("inputMessages", prompts.get("input"));
        event.put_some("outputResponse", prompts.get("output"));
        event.put_some("promptsTruncated", prompts.get("truncated"));
    }
    let mut attributes = Writer::default();
    if facts.ending.is_partial(facts.usage.is_stated()) {
        attributes.put("isPartial", "true");
    }
    for (name, member) in [("batchId", "batch_id"), ("customId", "custom_id")] {
        attributes.put_some(name, facts.call.text(member).as_deref().map(quoted).as_deref());
    }
    if !facts.usage.put_rest(&mut attributes, &[]) {
        facts.warn("attributes", What::Dropped(Reason::Range));
    }
    put_attributes(facts, attributes, event);
}

/// The event of one pass that is billed apart, as Revenium's SDK has it: the call's, with the pass's model
/// and amounts.
fn pass_of(facts: &Facts<'_>, main: &Frozen, at: usize, pass: &Usage<'_>) -> Result<String, Refusal> {
    let path = format!("call.usage.iterations[{at}]");
    if let Some(name) = pass.twice() {
        let name = format!("{path}.{name}");
        return Err(invalid(Some(&name), &format!("{name} is given twice; send it once")));
    }
    let mut event = common(facts, &is_cost);
    event.put_text("transactionId", &format!("{}{PASS}{at}", main.transaction_id));
    event.put_text("parentTransactionId", &main.transaction_id);
    event.put_some("operationSubtype", pass.label("type"));
    // An advisor says which model it is. A compaction is run by the model that was asked for, whichever
    // answered in the end.
    let model = pass.text("model").or_else(|| facts.request.text("model")).unwrap_or_else(|| facts.model());
    event.put_text("model", &model);
    pass.put_amounts(&mut event);
    event.put_text("stopReason", "END");
    let mut attributes = Writer::default();
    pass.put_rest(&mut attributes, &["type", "model"]);
    put_attributes(facts, attributes, &mut event);
    Ok(written(event))
}

/// What all events of a call have in common; of the metadata all but what is `apart`.
fn common(facts: &Facts<'_>, apart: &dyn Fn(&str) -> bool) -> Writer {
    let call = &facts.call;
    let mut event = Writer::default();
    event.put_some("profile", facts.profile);
    let Provider { name, is_anthropics } =
        provider::of(call.text("endpoint").as_deref(), Some(&facts.model()));
    event.put_text("provider", &call.text("provider").filter(|said| !said.trim().is_empty()).unwrap_or(name));
    if is_anthropics {
        event.put_text("modelSource", "ANTHROPIC");
    }
    event.put_text("costType", "AI");
    event.put("isStreamed", call.get("is_streamed").unwrap_or("false"));
    event.put_text(
        "operationType",
        if facts.request.get("has_tools") == Some("true") { "TOOL_CALL" } else { "CHAT" },
    );
    let request_time = facts.started_at_ms.and_then(|ms| i64::try_from(ms).ok()).map(time_from_ms);
    event.put_some("requestTime", request_time.as_deref());
    event.put_some("requestDuration", call.get("duration_ms"));
    // An answer in one piece has its first token when it has its last.
    let in_one_piece = call.get("duration_ms").filter(|_| call.get("is_streamed") != Some("true"));
    event.put_some("timeToFirstToken", call.get("time_to_first_token_ms").or(in_one_piece));
    event.put_some("retryNumber", call.get("retry_number"));
    event.put_some("middlewareSource", call.get("middleware"));
    event.put_some("temperature", facts.request.get("temperature"));
    event.put_some("effort", facts.request.get("effort"));
    event.put_some("requestedServiceTier", facts.request.get("service_tier"));
    event.put_some("actualServiceTier", facts.usage.label("service_tier"));
    if facts.is_batch {
        event.put_text("pricingTier", "BATCH");
    }
    if let Some(raw) = call.get("usage_metadata") {
        put_metadata(raw, apart, &mut event);
    }
    event
}

/// The application's metadata, and the name that follows from its task as in Revenium's SDK. Attributes
/// are put with the call's own.
fn put_metadata(raw: &str, apart: &dyn Fn(&str) -> bool, event: &mut Writer) {
    let Some(metadata) = Members::read(raw) else { return event.put("usageMetadata", raw) };
    let said =
        |names: [&str; 2]| names.into_iter().find_map(|name| metadata.get(name).filter(|raw| says(raw)));
    if said(["transaction_name", "transactionName"]).is_none() {
        event.put_some("transactionName", said(["task_type", "taskType"]));
    }
    let has_attributes = metadata.object("attributes").is_some();
    let is_out = |name: &str| (has_attributes && name == "attributes") || apart(name);
    let rest = if metadata.iter().any(|(name, _)| is_out(name)) {
        metadata.without(is_out)
    } else {
        Some(raw.to_owned())
    };
    event.put_some("usageMetadata", rest.as_deref());
}

/// Whether a member of the metadata is a cost, in either spelling.
fn is_cost(name: &str) -> bool {
    let name = name.replace('_', "");
    COSTS.iter().any(|cost| cost.eq_ignore_ascii_case(&name))
}

/// The call's own attributes, and then the application's.
fn put_attributes(facts: &Facts<'_>, mut attributes: Writer, event: &mut Writer) {
    let metadata = facts.call.object("usage_metadata");
    if let Some(given) = metadata.and_then(|metadata| metadata.object("attributes")) {
        given.iter().for_each(|(name, raw)| attributes.put(name, raw));
    }
    event.put_some("attributes", attributes.finish().as_deref());
}

/// What Revenium recognises the call by: the answer's id; for a call without one its place in its batch,
/// whose results are the answer to one request, or else the request's id. None if there is none of these:
/// freezing makes one of the key.
fn transaction_id(facts: &Facts<'_>) -> Option<String> {
    let call = &facts.call;
    let said = |name| call.get(name).filter(|raw| says(raw)).map(str::to_owned);
    let name = |name| call.text(name).filter(|name| !name.trim().is_empty());
    let place = || Some(quoted(&format!("{}-{}", name("batch_id")?, name("custom_id")?)));
    said("id").or_else(place).or_else(|| said("request_id"))
}

/// Whether `transaction` is the `transactionId` of a pass that is billed beside the call with the one `of`.
pub fn is_pass_of(transaction: &str, of: &str) -> bool {
    let number = transaction.strip_prefix(of).and_then(|rest| rest.strip_prefix(PASS));
    number.is_some_and(|at| !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit()))
}

fn written(event: Writer) -> String {
    event.finish().expect("every event has a provider")
}

/// Names the amount at fault as the sender knows it.
fn named(mut refusal: Refusal, usage: &str) -> Refusal {
    let amount = AMOUNTS.iter().find(|(field, _)| refusal.field.as_deref() == Some(field));
    if let Some((field, path)) = amount {
        let what = refusal.message.strip_prefix(field).unwrap_or(&refusal.message);
        refusal.message = format!("{usage}.{path}{what}");
        refusal.field = Some(format!("{usage}.{path}").into());
    }
    refusal
}

fn too_large(field: &'static str, message: String) -> Refusal {
    Refusal { code: RefusalCode::TooLarge, field: Some(field.into()), message }
}
