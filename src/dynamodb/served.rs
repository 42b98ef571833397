//! The embedded database on a loopback port, so that two processes can share one.
//!
//! Owns the HTTP around it. Signatures are not checked: it is for tests and demonstrations of two
//! owners, on one machine.

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

/// Serves `database` on `listener` until `stop` ends and all requests are answered.
pub(super) async fn serve(
    database: Embedded,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let routes = Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(database);
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await
        .map_err(|e| Error::new(ErrorKind::Io, format!("serving DynamoDB failed: {e}")))
}

async fn answer(State(database): State<Embedded>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let target = target.unwrap_or_default().to_owned();
    let Some(reply) = database.answer(&target, SdkBody::from(body)).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], reply.body).into_response()
}
