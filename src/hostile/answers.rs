//! Answers and errors that a server or the network in between gives.
//!
//! Owns their form: DynamoDB's errors as its documentation has them, the network's as the SDK's own
//! connector reports them.

use std::io;
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::{Value, json};

/// What a connector gives.
pub(super) type Answer = Result<HttpResponse, ConnectorError>;

/// An answer with a body.
pub(super) fn of(status: u16, body: Vec<u8>) -> Answer {
    let status = StatusCode::try_from(status).map_err(|e| ConnectorError::other(e.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(body)))
}

/// An answer of JSON.
pub(super) fn json(status: u16, body: &Value) -> Answer {
    of(status, body.to_string().into_bytes())
}

/// An error of DynamoDB.
pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
    json(status, &json!({ "__type": code, "message": message }))
}

/// The connection is refused.
pub(super) fn refused() -> ConnectorError {
    ConnectorError::io(io::Error::from(io::ErrorKind::ConnectionRefused).into()).never_connected()
}

/// The connection is reset.
pub(super) fn reset() -> ConnectorError {
    ConnectorError::io(io::Error::from(io::ErrorKind::ConnectionReset).into())
}

/// No answer for `timeout`.
pub(super) fn timed_out(timeout: Duration) -> ConnectorError {
    let text = format!("no answer within {} ms", timeout.as_millis());
    ConnectorError::timeout(io::Error::new(io::ErrorKind::TimedOut, text).into())
}

/// The answer with all of its body, which from a socket comes by and by.
pub(super) async fn whole(answer: Answer) -> Answer {
    let mut answer = answer?;
    if answer.body().bytes().is_none() {
        let stream = ByteStream::new(answer.take_body());
        let bytes = stream.collect().await.map_err(|e| ConnectorError::io(e.into()))?;
        *answer.body_mut() = SdkBody::from(bytes.into_bytes());
    }
    Ok(answer)
}

/// The body of an answer; null where it is no JSON.
pub(super) fn body(answer: &HttpResponse) -> Value {
    serde_json::from_slice(answer.body().bytes().unwrap_or_default()).unwrap_or_default()
}

/// The answer without its end, which may be all but a byte.
pub(super) fn cut(answer: HttpResponse, dice: &mut super::dice::Dice) -> Answer {
    let body = answer.body().bytes().unwrap_or_default();
    if body.len() < 2 {
        return Err(reset());
    }
    of(answer.status().as_u16(), body[..1 + dice.below(body.len() - 1)].to_vec())
}
