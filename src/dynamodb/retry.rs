//! What to do about a call that failed: facts in, verdict out; and how long to wait before the next try.
//!
//! Owns the classification of DynamoDB's errors and the back-off. Pure: the loop around it, which
//! sends and sleeps, is `call`'s.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use rand::Rng;

use crate::error::{Error, ErrorKind};

/// The code under which the embedded DynamoDB reports a disk that is full, gone or forbidden.
pub(super) const STORAGE_FAILURE: &str = "EmbeddedStorageFailure";

/// What to do where credentials are not allowed to do something.
pub(super) const ALLOWED: &str =
    "`millpond table policy` prints what the credentials must be allowed to do";

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It could not be made: a wrong parameter, no credentials.
    NotMade,
    /// It surely never left: no connection, no credentials at the moment.
    NotSent,
    /// It left, or may have; no usable answer came.
    Unanswered,
    /// The server answered with this HTTP status (200 for an error inside a batch).
    Answered(u16),
}

/// What is known about a call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// How far the request got.
    pub(super) reach: Reach,
    /// The server's error code.
    pub(super) code: Option<String>,
    /// The server's words, or the chain of causes.
    pub(super) message: String,
    /// Which limit was exceeded, in DynamoDB's word: `TableWriteKeyRangeThroughputExceeded`.
    pub(super) reason: Option<String>,
}

/// Why a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// More was asked for than the table's or the account's capacity.
    Throttled,
    /// No connection, no answer in time, or half an answer.
    Unreachable,
    /// The server says it failed.
    Internal,
    /// The signature was refused, as it is where the clock is off. Nothing was looked at that was sent. How often it
    /// is tried again is `signatures`'s.
    Signature,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The condition did not hold: not an error, an answer.
    ConditionFailed,
    /// Try again.
    Retry {
        /// Why.
        trouble: Trouble,
        /// Whether the request certainly had no effect and never will.
        surely_not_applied: bool,
    },
    /// Trying again cannot help.
    Final(ErrorKind),
}

/// Decides about `failure`.
pub(super) fn judge(failure: &Failure) -> Verdict {
    if let Some(verdict) = failure.code.as_deref().and_then(judge_code) {
        return verdict;
    }
    let retry = |trouble, surely_not_applied| Verdict::Retry { trouble, surely_not_applied };
    match failure.reach {
        Reach::NotMade => Verdict::Final(ErrorKind::Store),
        Reach::NotSent => retry(Trouble::Unreachable, true),
        Reach::Unanswered | Reach::Answered(408) => retry(Trouble::Unreachable, false),
        Reach::Answered(429) => retry(Trouble::Throttled, true),
        Reach::Answered(status) if status >= 500 => retry(Trouble::Internal, false),
        Reach::Answered(_) => Verdict::Final(ErrorKind::Store),
    }
}

/// Codes of whole requests, and the shorter ones of statements inside a batch.
fn judge_code(code: &str) -> Option<Verdict> {
    let retry = |trouble, surely_not_applied| Verdict::Retry { trouble, surely_not_applied };
    Some(match code {
        "ConditionalCheckFailedException" | "ConditionalCheckFailed" => Verdict::ConditionFailed,
        "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "ThrottlingException"
        | "ThrottlingError"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TransactionConflictException"
        | "TransactionConflict"
        | "SlowDown" => retry(Trouble::Throttled, true),
        "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "ReplicatedWriteConflictException" => retry(Trouble::Internal, false),
        "InvalidSignatureException" | "RequestTimeTooSkewed" | "RequestExpired" => {
            retry(Trouble::Signature, true)
        }
        STORAGE_FAILURE => Verdict::Final(ErrorKind::Io),
        _ => return None,
    })
}

impl Failure {
    /// The facts of an SDK error.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let reach = match error {
            // Half an answer: the SDK calls it an error of the service.
            SdkError::ServiceError(e) if e.raw().status().is_success() => Reach::Unanswered,
            SdkError::ServiceError(e) if is_cut(e.raw()) => Reach::Unanswered,
            SdkError::ServiceError(e) => Reach::Answered(e.raw().status().as_u16()),
            SdkError::ConstructionFailure(_) => unsent(error).unwrap_or(Reach::NotMade),
            SdkError::DispatchFailure(e) if e.is_user() => Reach::NotMade,
            SdkError::DispatchFailure(_) => unsent(error).unwrap_or(Reach::Unanswered),
            _ => Reach::Unanswered,
        };
        let service = error.as_service_error();
        let message = service
            .and_then(ProvideErrorMetadata::message)
            .map_or_else(|| in_one_line(error), str::to_owned);
        let reason = match error {
            SdkError::ServiceError(e) => reason(e.raw().body().bytes().unwrap_or_default()),
            _ => None,
        };
        Self { reach, code: error.code().map(str::to_owned), message, reason }
    }

    /// An error of one statement or item inside an answer.
    pub(super) fn inside(code: &str, message: &str) -> Self {
        Self {
            reach: Reach::Answered(200),
            code: Some(code.to_owned()),
            message: message.to_owned(),
            reason: None,
        }
    }

    /// What was throttled, in one word: the reason where it is known, else the code.
    pub(super) fn throttled_by(&self) -> &str {
        let word = self.reason.as_deref().or(self.code.as_deref());
        word.unwrap_or("throttled without a code")
    }

    /// Whether the credentials are not allowed to do it: the code of a whole request, or that of a statement.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.code.as_deref(), Some("AccessDeniedException" | "AccessDenied"))
    }

    /// The public error of a final failure of `what`.
    pub(super) fn to_error(&self, what: &str, place: &str) -> Error {
        let kind = match judge(self) {
            Verdict::Final(kind) => kind,
            Verdict::ConditionFailed | Verdict::Retry { .. } => ErrorKind::Store,
        };
        let code = self.code.as_deref().filter(|code| *code != STORAGE_FAILURE);
        let code = code.map(|code| format!("{code}: ")).unwrap_or_default();
        let advice = if self.is_denied() { format!("; {ALLOWED}") } else { String::new() };
        Error::new(kind, format!("{what} on {place} failed: {code}{}{advice}", self.message))
    }
}

/// The first reason that an exception lists; each of them spells the list's name in its own way.
fn reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let reasons = body.get("ThrottlingReasons").or_else(|| body.get("throttlingReasons"))?;
    Some(reasons.get(0)?.get("reason")?.as_str()?.to_owned())
}

/// Whether the answer is the first half of a DynamoDB error: what was refused, and whether for good, is
/// in the other.
fn is_cut(answer: &HttpResponse) -> bool {
    let body = answer.body().bytes().unwrap_or_default();
    let whole = serde_json::from_slice::<serde::de::IgnoredAny>(body);
    !body.is_empty() && whole.is_err_and(|e| e.is_eof())
}

/// What the server did not say: what was missing, or how far the request got. [`causes`] has all of it.
fn in_one_line<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    if let SdkError::ServiceError(answered) = error
        && error.code().is_none()
    {
        let status = answered.raw().status().as_u16();
        return format!("HTTP {status} with an answer that cannot be read as DynamoDB's");
    }
    match of_credentials(error) {
        Some(error @ CredentialsError::CredentialsNotLoaded(_)) => match error.source() {
            Some(why) => format!("no credentials were found: {}", causes(why)),
            None => "no credentials were found".to_owned(),
        },
        Some(other) => causes(other),
        None => causes(error),
    }
}

/// The error of the provider of credentials, where that is what failed.
fn of_credentials<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    std::iter::successors(Some(error), |error| (**error).source())
        .find_map(|cause| cause.downcast_ref())
}

/// An error and its causes, each once, in words.
pub(super) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(at) = cause {
        let words = at.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = at.source();
    }
    text
}

/// Where the chain of causes proves that nothing was sent: how far it got.
fn unsent(error: &(dyn StdError + 'static)) -> Option<Reach> {
    if let Some(credentials) = of_credentials(error) {
        let hopeless = matches!(
            credentials,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        );
        return Some(if hopeless { Reach::NotMade } else { Reach::NotSent });
    }
    let mut cause = Some(error);
    while let Some(at) = cause {
        if let Some(io) = at.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind as Io;
            if matches!(
                io.kind(),
                Io::ConnectionRefused | Io::HostUnreachable | Io::NetworkUnreachable
            ) {
                return Some(Reach::NotSent);
            }
        }
        cause = at.source();
    }
    None
}

/// Exponential back-off with jitter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Before the second try, at most.
    pub(super) first: Duration,
    /// Never longer than this.
    pub(super) longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// How long to wait after `failures` failures in a row (1 or more): between half and all of
    /// `first · 2^(failures−1)`, so that many callers spread out and none comes back at once.
    pub(super) fn after(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full.mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn failure(reach: Reach, code: Option<&str>) -> Failure {
        Failure { reach, code: code.map(str::to_owned), message: String::new(), reason: None }
    }

    #[test]
    fn the_limit_that_was_exceeded_has_a_name() {
        let body = |list: &str| {
            format!(
                r#"{{"__type":"x","{list}":[{{"reason":"TableWriteKeyRangeThroughputExceeded"}}]}}"#
            )
        };
        for list in ["throttlingReasons", "ThrottlingReasons"] {
            let found = reason(body(list).as_bytes());
            assert_eq!(found.as_deref(), Some("TableWriteKeyRangeThroughputExceeded"));
        }
        assert_eq!(reason(b"{}"), None);
        assert_eq!(reason(b"half {"), None);
        // Statements of a batch come with a code alone.
        let statement = Failure::inside("ThrottlingError", "slow down");
        assert_eq!(statement.throttled_by(), "ThrottlingError");
    }

    fn dispatched(error: CredentialsError) -> String {
        let error = ConnectorError::other(error.into(), None);
        Failure::of(&SdkError::<PutItemError, _>::dispatch_failure(error)).message
    }

    /// They used to begin with how the SDK had got there.
    #[test]
    fn what_is_wrong_with_credentials_is_told_from_there_on() {
        let told = dispatched(CredentialsError::not_loaded("the environment has none"));
        assert_eq!(told, "no credentials were found: the environment has none");
        assert_eq!(
            dispatched(CredentialsError::not_loaded_no_source()),
            "no credentials were found"
        );
        let told = dispatched(CredentialsError::invalid_configuration("no such file"));
        assert_eq!(told, "the credentials provider was not properly configured: no such file");
    }

    /// A parser's offset used to stand here.
    #[test]
    fn an_answer_of_something_else_is_told_by_its_status() {
        let status = StatusCode::try_from(404).unwrap();
        let answer = HttpResponse::new(status, SdkBody::from("<html>"));
        let error = SdkError::service_error(PutItemError::unhandled("unexpected token"), answer);
        let failure = Failure::of(&error);
        let expected = "HTTP 404 with an answer that cannot be read as DynamoDB's";
        assert_eq!((failure.reach, failure.message.as_str()), (Reach::Answered(404), expected));
    }

    #[test]
    fn each_kind_of_failure_has_its_verdict() {
        use Trouble::{Internal, Signature, Throttled, Unreachable};
        let retry = |trouble, surely_not_applied| Verdict::Retry { trouble, surely_not_applied };
        let table = [
            (
                Reach::Answered(400),
                Some("ConditionalCheckFailedException"),
                Verdict::ConditionFailed,
            ),
            (Reach::Answered(200), Some("ConditionalCheckFailed"), Verdict::ConditionFailed),
            (Reach::Answered(200), Some("ThrottlingError"), retry(Throttled, true)),
            (Reach::Answered(200), Some("InternalServerError"), retry(Internal, false)),
            (Reach::Answered(400), Some("ThrottlingException"), retry(Throttled, true)),
            (Reach::Answered(500), Some("InternalServerError"), retry(Internal, false)),
            (Reach::Answered(503), None, retry(Internal, false)),
            (Reach::Answered(400), Some("InvalidSignatureException"), retry(Signature, true)),
            (Reach::Answered(403), Some("RequestTimeTooSkewed"), retry(Signature, true)),
            (Reach::Answered(400), Some("RequestExpired"), retry(Signature, true)),
            (Reach::Answered(400), Some("AccessDeniedException"), Verdict::Final(ErrorKind::Store)),
            (Reach::Answered(400), Some("ValidationException"), Verdict::Final(ErrorKind::Store)),
            (Reach::Answered(500), Some(STORAGE_FAILURE), Verdict::Final(ErrorKind::Io)),
            (Reach::NotSent, None, retry(Unreachable, true)),
            (Reach::Unanswered, None, retry(Unreachable, false)),
            (Reach::NotMade, None, Verdict::Final(ErrorKind::Store)),
        ];
        for (reach, code, expected) in table {
            assert_eq!(judge(&failure(reach, code)), expected, "{reach:?} {code:?}");
        }
    }

    proptest! {
        #[test]
        fn delays_grow_within_their_bounds(failures in 1u32..100, seed: u64) {
            let backoff = Backoff::default();
            let delay = backoff.after(failures, &mut SmallRng::seed_from_u64(seed));
            let full = backoff.first.saturating_mul(1 << (failures - 1).min(20)).min(backoff.longest);
            prop_assert!(delay <= full && delay >= full / 2 - Duration::from_nanos(1));
        }
    }
}
