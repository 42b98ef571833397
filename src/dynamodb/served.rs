//! The embedded database on a loopback port, so that two processes can share one.
//!
//! Owns the HTTP around it. Signatures are not checked: it is for tests and demonstrations of two
//! owners, on one machine.

use std::sync::Arc;

use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;

use super::embedded::Embedded;
use crate::error::{Error, ErrorKind, Result};

/// DynamoDB's largest request.
const MAX_BODY_BYTES: usize = 16 << 20;

/// One request that was answered, as the server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// The id of the access key that signed it; empty where none did.
    pub caller: &'a str,
    /// `PutItem`, `BatchGetItem`, …
    pub operation: &'a str,
    /// Items that it would write, one by one or as statements of a batch; of a request that only reads, none.
    pub writes: usize,
    /// Writes of it that were refused because their condition did not hold.
    pub refused: usize,
}

/// Is told of each request of a served database, on the server's threads.
pub type Witness = Arc<dyn Fn(Served<'_>) + Send + Sync>;

/// Serves `database` on `listener` until `stop` ends and all requests are answered.
pub(super) async fn serve(
    database: Embedded,
    listener: TcpListener,
    witness: Witness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let routes = Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state((database, witness));
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await
        .map_err(|e| Error::new(ErrorKind::Io, format!("serving DynamoDB failed: {e}")))
}

async fn answer(
    State((database, witness)): State<(Embedded, Witness)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name| headers.get(name).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let target = text("x-amz-target");
    let operation = target.rsplit('.').next().unwrap_or_default();
    let writes = writes(operation, &body);
    let Some(reply) = database.answer(target, SdkBody::from(body)).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    witness(Served {
        caller: signer(text("authorization")),
        operation,
        writes,
        refused: refused(&reply.body),
    });
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], reply.body).into_response()
}

/// The access key's id in `AWS4-HMAC-SHA256 Credential=ID/DATE/…, SignedHeaders=…`.
fn signer(authorization: &str) -> &str {
    let credential = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    credential.split('/').next().unwrap_or_default()
}

/// How many items a request would write.
fn writes(operation: &str, body: &[u8]) -> usize {
    match operation {
        "BatchExecuteStatement" => memchr::memmem::find_iter(body, b"\"Statement\":").count(),
        "PutItem" | "UpdateItem" | "DeleteItem" => 1,
        "BatchWriteItem" => memchr::memmem::find_iter(body, b"Request\":{").count(),
        _ => 0,
    }
}

/// Failed conditions in an answer: one of a whole request, or any number inside a batch.
fn refused(body: &[u8]) -> usize {
    memchr::memmem::find_iter(body, b"ConditionalCheckFailed").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_signer_and_its_failed_conditions() {
        let header = "AWS4-HMAC-SHA256 Credential=candidate-3/20261124/us-east-1/dynamodb/aws4";
        assert_eq!(signer(header), "candidate-3");
        assert_eq!(signer(""), "");
        assert_eq!(refused(br#"{"__type":"x#ConditionalCheckFailedException"}"#), 1);
        assert_eq!(refused(b"{}"), 0);
        let two = br#"{"Statements":[{"Statement":"INSERT 1"},{"Parameters":[],"Statement":"UPDATE 2"}]}"#;
        assert_eq!(writes("BatchExecuteStatement", two), 2);
        let deletes = br#"{"RequestItems":{"t":[{"DeleteRequest":{"Key":{}}},{"DeleteRequest":{"Key":{}}}]}}"#;
        assert_eq!(writes("BatchWriteItem", deletes), 2);
        assert_eq!((writes("PutItem", b"{}"), writes("GetItem", b"{}")), (1, 0));
    }
}
