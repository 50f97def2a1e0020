//! Every member that Revenium knows by name, the kinds that have it, and the rule it obeys.
//!
//! What is not in the table is not ours to judge: it is kept as it came.

use crate::Kind;
use crate::limits::*;
use crate::listed::*;
use crate::name;

/// A set of kinds, a bit for each code.
type Kinds = u8;

const COMPLETION: Kinds = bit(Kind::Completion);
const IMAGE: Kinds = bit(Kind::Image);
const AUDIO: Kinds = bit(Kind::Audio);
const VIDEO: Kinds = bit(Kind::Video);
const TOOL: Kinds = bit(Kind::Tool);
const GENERIC: Kinds = bit(Kind::Generic);
const REQUEST: Kinds = bit(Kind::ApiRequest);
const RESPONSE: Kinds = bit(Kind::ApiResponse);
const API: Kinds = REQUEST | RESPONSE;
const MEDIA: Kinds = IMAGE | AUDIO | VIDEO;
/// The kinds that meter a model, with its common attribution and trace fields.
const AI: Kinds = COMPLETION | MEDIA;
const ALL: Kinds = u8::MAX;

const fn bit(kind: Kind) -> Kinds {
    1 << kind.code()
}

/// What a field's value must be, and what is done when it is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// Anything: judged elsewhere or by nobody.
    Free,
    /// A scalar of at most this many characters: longer text is cut, lists and objects are dropped.
    Text(usize),
    /// Like `Text`, and of these characters only: else dropped.
    Tag(Charset, usize),
    /// Text of 1 to this many of these characters: else dropped.
    Code(Charset, usize),
    /// A job's id: `Charset::Tag` with an alphanumeric start and two reserved words: else dropped.
    JobId,
    /// Text with a long limit; lists and objects become JSON text.
    Prompt,
    /// An amount counted in whole units, 0 to 2^63-1: else refused.
    Count,
    /// An amount, finite and not negative: else refused.
    Quantity,
    /// Money, finite: else refused.
    Cost,
    /// A whole number from 0 to this: else dropped.
    Whole(u64),
    /// A finite number whose absolute value is below this: else dropped.
    Number(f64),
    /// Whole milliseconds, not negative: fractions are cut, anything else is dropped.
    Millis,
    /// A truth value: else dropped.
    Flag,
    /// A truth value that decides about money: else refused.
    Decision,
    /// One of these, in any case: else dropped.
    Listed(&'static [&'static str]),
    /// Why the model stopped: provider's words are translated, unknown ones become END.
    StopReason,
    /// Always AI.
    CostType,
    /// ISO-8601 with a zone: other notations are rewritten, anything else is refused.
    Time,
    /// Text that is not blank: else refused.
    Name,
    /// What the server recognises the event by.
    TransactionId,
    /// An object: else dropped.
    Object,
    /// An object whose every member is an amount: else refused.
    Payload,
    /// The subscriber and its credential.
    Subscriber,
}

/// Characters that a field takes beside letters and digits of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charset(pub(crate) &'static [u8]);

const WORD: Charset = Charset(b"_-");
const DOTTED: Charset = Charset(b"._-");
const SCOPED: Charset = Charset(b"._:-");

const ANY: usize = usize::MAX;
const INT: u64 = i32::MAX as u64;

/// A field's entry in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    kinds: Kinds,
    rule: Rule,
    /// The field that this name is another word for.
    alias: Option<Field>,
}

macro_rules! fields {
    ($($field:ident $name:literal $kinds:expr, $rule:expr $(, as $alias:ident)?;)*) => {
        /// A member that Revenium, or this crate, knows by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Field { $($field),* }

        pub(crate) const SPECS: &[Spec] = &[$(Spec {
            name: $name,
            kinds: $kinds,
            rule: { use Rule::*; $rule },
            alias: fields!(@alias $($alias)?),
        }),*];

        pub(crate) const FIELDS: &[Field] = &[$(Field::$field),*];
    };
    (@alias) => { None };
    (@alias $alias:ident) => { Some(Field::$alias) };
}

fields! {
    // Ours: routing and lines. Cut out or refused, never sent.
    Kind "kind" ALL, Free;
    Profile "profile" ALL, Free;
    N "n" ALL, Free;
    Hello "hello" ALL, Free;
    Call "call" ALL, Free;
    CapturePrompts "capturePrompts" AI, Free;

    // What a model was asked for and used.
    Model "model" AI, Name;
    Provider "provider" AI, Name;
    InputTokenCount "inputTokenCount" COMPLETION | AUDIO, Count;
    OutputTokenCount "outputTokenCount" COMPLETION | AUDIO, Count;
    TotalTokenCount "totalTokenCount" COMPLETION | AUDIO, Count;
    ReasoningTokenCount "reasoningTokenCount" COMPLETION, Count;
    CacheCreationTokenCount "cacheCreationTokenCount" COMPLETION, Count;
    CacheCreation5mTokenCount "cacheCreation5mTokenCount" COMPLETION, Count;
    CacheCreation1hTokenCount "cacheCreation1hTokenCount" COMPLETION, Count;
    CacheReadTokenCount "cacheReadTokenCount" COMPLETION, Count;
    InputAudioTokenCount "inputAudioTokenCount" COMPLETION | AUDIO, Count;
    OutputAudioTokenCount "outputAudioTokenCount" COMPLETION | AUDIO, Count;
    StopReason "stopReason" COMPLETION, StopReason;
    CostType "costType" COMPLETION, CostType;
    IsStreamed "isStreamed" COMPLETION, Flag;
    Streamed "streamed" COMPLETION, Flag, as IsStreamed;

    // When.
    RequestTime "requestTime" AI, Time;
    CompletionStartTime "completionStartTime" COMPLETION, Time;
    ResponseTime "responseTime" AI, Time;
    RequestDuration "requestDuration" AI, Millis;
    TimeToFirstToken "timeToFirstToken" COMPLETION, Millis;
    MediationLatency "mediationLatency" COMPLETION, Millis;
    Timestamp "timestamp" TOOL, Time;
    DurationMs "durationMs" TOOL, Millis;

    // Which call.
    TransactionId "transactionId" ALL, TransactionId;
    SpanId "spanId" AI, TransactionId, as TransactionId;
    ParentTransactionId "parentTransactionId" AI | TOOL, Text(COLUMN_CHARS_MAX);
    ParentSpanId "parentSpanId" AI, Text(COLUMN_CHARS_MAX), as ParentTransactionId;
    TransactionName "transactionName" AI | TOOL, Text(COLUMN_CHARS_MAX);
    TraceId "traceId" AI | TOOL, Text(COLUMN_CHARS_MAX);
    TraceName "traceName" AI | TOOL, Text(TRACE_NAME_CHARS_MAX);
    TraceType "traceType" AI | TOOL, Tag(WORD, TRACE_TYPE_CHARS_MAX);
    RetryNumber "retryNumber" AI | TOOL, Whole(INT);

    // For whom.
    OrganizationName "organizationName" AI | TOOL, Text(ANY);
    OrganizationId "organizationId" AI | TOOL, Free;
    ProductName "productName" AI | TOOL, Text(PRODUCT_NAME_CHARS_MAX);
    ProductId "productId" AI | TOOL, Free;
    Agent "agent" AI | TOOL, Text(COLUMN_CHARS_MAX);
    AgentVersion "agentVersion" AI | TOOL, Text(VERSION_CHARS_MAX);
    TaskType "taskType" AI | TOOL, Text(COLUMN_CHARS_MAX);
    SubscriptionId "subscriptionId" AI | TOOL, Text(COLUMN_CHARS_MAX);
    Subscriber "subscriber" AI, Subscriber;
    SubscriberId "subscriberId" AI, Text(COLUMN_CHARS_MAX);
    SubscriberEmail "subscriberEmail" AI, Text(COLUMN_CHARS_MAX);
    SubscriberCredentialName "subscriberCredentialName" AI, Text(ANY);
    SubscriberCredential "subscriberCredential" AI | TOOL | GENERIC, Text(ANY);
    SubscriberEmailSource "subscriberEmailSource" AI, Text(EMAIL_SOURCE_CHARS_MAX);
    CredentialAlias "credentialAlias" AI, Free;
    Environment "environment" AI | TOOL, Text(COLUMN_CHARS_MAX);
    Region "region" AI | TOOL, Text(COLUMN_CHARS_MAX);
    TicketId "ticketId" AI | TOOL, Text(NAME_CHARS_MAX);
    CodingAssistantAccountUuid "codingAssistantAccountUuid" AI, Text(ANY);
    UsageMetadata "usageMetadata" AI | TOOL, Object;

    // Jobs, squads, skills.
    AgenticJobId "agenticJobId" AI | TOOL, JobId;
    AgenticJobName "agenticJobName" AI | TOOL, Text(JOB_NAME_CHARS_MAX);
    AgenticJobType "agenticJobType" AI | TOOL, Text(JOB_TYPE_CHARS_MAX);
    AgenticJobVersion "agenticJobVersion" AI | TOOL, Text(VERSION_CHARS_MAX);
    SquadId "squadId" AI, Text(ANY);
    SquadName "squadName" AI, Text(ANY);
    SquadRole "squadRole" AI, Text(ANY);
    SkillName "skillName" AI, Text(NAME_CHARS_MAX);
    SkillSource "skillSource" AI, Listed(&["bundled", "projectSettings", "userSettings", "plugin"]);
    SkillKind "skillKind" AI, Listed(&["workflow"]);
    SkillPluginName "skillPluginName" AI, Text(NAME_CHARS_MAX);
    SkillMarketplaceName "skillMarketplaceName" AI, Text(NAME_CHARS_MAX);
    SkillInvocationTrigger "skillInvocationTrigger" AI, Text(SKILL_TRIGGER_CHARS_MAX);

    // How.
    OperationType "operationType" AI, Listed(OPERATION_TYPES);
    OperationSubtype "operationSubtype" AI, Text(COLUMN_CHARS_MAX);
    ModelSource "modelSource" AI, Text(ANY);
    ModelHost "modelHost" AI, Text(MODEL_HOST_CHARS_MAX);
    MiddlewareSource "middlewareSource" AI, Text(COLUMN_CHARS_MAX);
    SystemFingerprint "systemFingerprint" AI, Text(ANY);
    Temperature "temperature" AI, Number(f64::INFINITY);
    HasVisionContent "hasVisionContent" AI, Flag;
    Attributes "attributes" AI, Object;
    Effort "effort" AI, Code(WORD, EFFORT_CHARS_MAX);
    Speed "speed" AI, Code(WORD, EFFORT_CHARS_MAX);
    ClientSurface "clientSurface" AI, Code(DOTTED, SURFACE_CHARS_MAX);
    Entrypoint "entrypoint" AI, Code(DOTTED, SURFACE_CHARS_MAX);
    QuerySource "querySource" AI, Code(SCOPED, QUERY_SOURCE_CHARS_MAX);
    SubagentType "subagentType" AI, Code(SCOPED, QUERY_SOURCE_CHARS_MAX);
    PromptId "promptId" AI, Code(WORD, PROMPT_ID_CHARS_MAX);
    PromptLength "promptLength" AI, Whole(INT);

    // What it costs, when the sender knows better than Revenium's pricing.
    InputTokenCost "inputTokenCost" AI, Cost;
    OutputTokenCost "outputTokenCost" AI, Cost;
    CacheCreationTokenCost "cacheCreationTokenCost" AI, Cost;
    CacheReadTokenCost "cacheReadTokenCost" AI, Cost;
    TotalCost "totalCost" AI, Cost;
    CostUsd "costUsd" TOOL, Cost;
    CostMultiplier "costMultiplier" AI, Number(f64::INFINITY);
    BillingSkipped "billingSkipped" AI, Decision;
    SkipReason "skipReason" AI, Listed(COMPLETION_SKIP_REASONS);
    PricingTier "pricingTier" AI, Listed(&["STANDARD", "BATCH"]);
    ActualServiceTier "actualServiceTier" AI, Text(ANY);
    RequestedServiceTier "requestedServiceTier" AI, Text(ANY);
    SubscriptionTier "subscriptionTier" AI, Text(ANY);
    PriorityTier "priorityTier" AI, Text(ANY);
    BillingUnit "billingUnit" MEDIA, Text(ANY);

    // How well it went, and what was said.
    ResponseQualityScore "responseQualityScore" AI, Number(QUALITY_SCORE_BELOW);
    ErrorCode "errorCode" AI, Whole(INT);
    ErrorReason "errorReason" AI, Text(COLUMN_CHARS_MAX);
    SystemPrompt "systemPrompt" COMPLETION, Prompt;
    InputMessages "inputMessages" COMPLETION, Prompt;
    OutputResponse "outputResponse" COMPLETION, Prompt;
    PromptsTruncated "promptsTruncated" COMPLETION, Flag;

    // Images, audio, video.
    RequestedImageCount "requestedImageCount" IMAGE, Count;
    ActualImageCount "actualImageCount" IMAGE, Count;
    RevisedPromptProvided "revisedPromptProvided" IMAGE, Flag;
    SourceImageProvided "sourceImageProvided" IMAGE, Flag;
    SourceTransactionId "sourceTransactionId" MEDIA, Text(ANY);
    Resolution "resolution" IMAGE | VIDEO, Text(ANY);
    AspectRatio "aspectRatio" IMAGE | VIDEO, Text(ANY);
    Quality "quality" IMAGE | VIDEO, Text(ANY);
    Style "style" IMAGE, Text(ANY);
    Format "format" IMAGE, Text(ANY);
    DurationSeconds "durationSeconds" AUDIO | VIDEO, Quantity;
    RequestedDurationSeconds "requestedDurationSeconds" VIDEO, Quantity;
    CharacterCount "characterCount" AUDIO, Count;
    CreditsConsumed "creditsConsumed" VIDEO, Quantity;
    CreditRate "creditRate" VIDEO, Quantity;
    Language "language" AUDIO, Text(ANY);
    SourceLanguage "sourceLanguage" AUDIO, Text(ANY);
    TargetLanguage "targetLanguage" AUDIO, Text(ANY);
    Voice "voice" AUDIO, Text(ANY);
    AudioFormat "audioFormat" AUDIO, Text(ANY);
    ResponseFormat "responseFormat" AUDIO, Text(ANY);
    SampleRate "sampleRate" AUDIO, Whole(INT);
    IsRealtime "isRealtime" AUDIO, Flag;
    Fps "fps" VIDEO, Number(f64::INFINITY);
    AsyncOperation "asyncOperation" VIDEO, Flag;
    CompletionStatus "completionStatus" VIDEO, Text(ANY);
    VideoJobId "videoJobId" VIDEO, Text(ANY);
    AudioJobId "audioJobId" AUDIO, Text(ANY);

    // Tools, generic events, API calls.
    ToolId "toolId" TOOL, Name;
    Operation "operation" TOOL, Text(ANY);
    Success "success" TOOL, Flag;
    ErrorMessage "errorMessage" TOOL, Text(ANY);
    WorkflowId "workflowId" TOOL, Text(ANY);
    Payload "payload" GENERIC, Payload;
    SourceType "sourceType" GENERIC | API, Listed(SOURCE_TYPES);
    SourceId "sourceId" GENERIC | API, Text(ANY);
    Method "method" REQUEST, Text(ANY);
    Resource "resource" REQUEST, Text(ANY);
    Credential "credential" REQUEST, Text(ANY);
    RemoteHost "remoteHost" REQUEST, Text(ANY);
    UserAgent "userAgent" REQUEST, Text(ANY);
    ContentType "contentType" API, Text(ANY);
    RequestMessageSize "requestMessageSize" REQUEST, Count;
    ResponseMessageSize "responseMessageSize" RESPONSE, Count;
    ResponseCode "responseCode" RESPONSE, Count;
    TotalDuration "totalDuration" RESPONSE, Millis;
    BackendLatency "backendLatency" RESPONSE, Millis;
    GatewayLatency "gatewayLatency" RESPONSE, Millis;
}

impl Field {
    /// How many there are.
    pub(crate) const COUNT: usize = FIELDS.len();

    /// Its wire name.
    pub(crate) const fn name(self) -> &'static str {
        SPECS[self as usize].name
    }

    /// The field that a name means in events of `kind`: itself, or what it is another word for.
    pub(crate) fn meant(self, kind: Kind) -> Option<Field> {
        let spec = &SPECS[self as usize];
        (spec.kinds & bit(kind) != 0).then(|| spec.alias.unwrap_or(self))
    }

    /// The rule it obeys in events of `kind`.
    pub(crate) fn rule(self, kind: Kind) -> Rule {
        match (self, kind) {
            (Field::Speed, Kind::Audio) => Rule::Number(f64::INFINITY),
            (Field::OperationSubtype, Kind::Image) => Rule::Listed(IMAGE_SUBTYPES),
            (Field::OperationSubtype, Kind::Audio) => Rule::Listed(AUDIO_SUBTYPES),
            (Field::OperationSubtype, Kind::Video) => Rule::Listed(VIDEO_SUBTYPES),
            (Field::SkipReason, Kind::Image | Kind::Audio | Kind::Video) => Rule::Listed(MEDIA_SKIP_REASONS),
            (Field::BillingUnit, Kind::Audio) => Rule::Listed(AUDIO_UNITS),
            _ => SPECS[self as usize].rule,
        }
    }

    /// The field that `name` spells, in `camelCase` or `snake_case`.
    pub(crate) fn spelled(name: &str) -> Option<Field> {
        name::find(name.as_bytes())
    }
}
