//! DynamoDB in the same process: an HTTP client for the SDK that has no socket.
//!
//! Owns the way of a request to the database: on a thread of its own behind a queue, or on the
//! caller's. Measured: with many requests in flight the thread is 1.3 to 2 times as fast; a simulation
//! needs all on one thread. What an operation does is `database`'s.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use futures::future::BoxFuture;
use futures::{FutureExt, future};
use tokio::sync::oneshot;

use super::database::{Database, Reply};
use crate::error::Result;
use crate::io::{Io, make_way};

/// Where the embedded database runs.
#[derive(Clone, Debug)]
pub enum Execution {
    /// On the thread that makes the call, which waits for it: no other thread at all.
    Inline,
    /// On one thread of this handle, for as long as the connection is open: a runtime that ends before
    /// waits for it.
    Thread(Io),
}

/// A handle to a running embedded database.
#[derive(Clone)]
pub(super) struct Embedded(Arc<Mode>);

enum Mode {
    Inline(Mutex<Option<Database>>),
    /// Unbounded: callers wait for their answers, and bound what they have in flight.
    Thread(Sender<Job>),
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

enum Job {
    Answer { target: String, body: SdkBody, reply: oneshot::Sender<Reply> },
    Close,
}

/// Ends when the database is closed and its lock let go.
pub(super) type Closed = BoxFuture<'static, Result<()>>;

impl Embedded {
    /// Starts `database`.
    pub(super) fn start(database: Database, execution: &Execution) -> (Self, Closed) {
        match execution {
            Execution::Inline => {
                let mode = Mode::Inline(Mutex::new(Some(database)));
                (Self(Arc::new(mode)), future::ready(Ok(())).boxed())
            }
            Execution::Thread(io) => {
                let (queue, jobs) = channel();
                let closed = io.blocking(move || {
                    serve(&database, &jobs);
                    Ok(())
                });
                (Self(Arc::new(Mode::Thread(queue))), closed.boxed())
            }
        }
    }

    /// Closes the database after what is in the queue; later calls fail.
    pub(super) fn close(&self) {
        match &*self.0 {
            Mode::Inline(database) => {
                database.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            // Where the thread has ended the database is closed.
            Mode::Thread(queue) => drop(queue.send(Job::Close)),
        }
    }

    /// Answers one request; `None` once the database is closed.
    pub(super) fn answer(
        &self,
        target: &str,
        body: SdkBody,
    ) -> impl Future<Output = Option<Reply>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        match &*self.0 {
            Mode::Inline(database) => {
                let database = database.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(database) = &*database {
                    let bytes = body.bytes().unwrap_or_default();
                    drop(reply.send(database.answer(target, bytes)));
                }
            }
            Mode::Thread(queue) => {
                let target = target.to_owned();
                drop(queue.send(Job::Answer { target, body, reply }));
            }
        }
        answer.map(std::result::Result::ok)
    }

    /// The HTTP client to give to the SDK.
    pub(super) fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }
}

/// The database's thread.
fn serve(database: &Database, jobs: &Receiver<Job>) {
    while let Ok(Job::Answer { target, body, reply }) = jobs.recv() {
        // A caller that is gone is a request whose answer is lost: it takes effect all the same.
        drop(reply.send(database.answer(&target, body.bytes().unwrap_or_default())));
        make_way();
    }
}

impl HttpClient for Embedded {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Embedded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let answer = self.answer(&target, request.into_body());
        HttpConnectorFuture::new(async move {
            let Some(reply) = answer.await else {
                return Err(ConnectorError::user("the embedded DynamoDB is closed".into()));
            };
            let status = StatusCode::try_from(reply.status)
                .map_err(|e| ConnectorError::other(e.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(reply.body)))
        })
    }
}
