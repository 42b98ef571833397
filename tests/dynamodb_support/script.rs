//! An HTTP client between the SDK and the server that follows a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

/// What becomes of one request.
pub(crate) enum Act {
    /// It is not sent; this is the answer.
    Answer(u16, String),
    /// The same, of a server whose clock shows this (an HTTP date).
    AnswerAt(u16, String, &'static str),
    /// It is not sent; the answer is made of the request's body.
    Reply(fn(&Value) -> Value),
    /// It is sent; the answer is changed on the way.
    Change(fn(&mut Value)),
    /// It is sent; the connection breaks before the answer.
    LoseAnswer,
    /// It is sent, and its answer comes.
    Pass,
    /// There is no connection.
    Refuse,
    /// The server's name is not known.
    NoSuchHost,
}

impl Act {
    /// An error of DynamoDB.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::Answer(status, format!(r#"{{"__type":"{code}","message":"scripted"}}"#))
    }
}

/// The acts to come for an operation, and what was sent; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    acts: Vec<(&'static str, VecDeque<Act>)>,
    sent: Vec<String>,
    signed: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    /// The next calls of `operation` go by `acts`, later ones pass.
    pub(crate) fn next(&self, operation: &'static str, acts: impl IntoIterator<Item = Act>) {
        self.0.lock().unwrap().acts.push((operation, acts.into_iter().collect()));
    }

    /// All calls pass from now on.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().acts.clear();
    }

    /// The operations sent since the last time this was asked.
    pub(crate) fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().sent)
    }

    /// The dates by which requests were signed since the last time this was asked.
    pub(crate) fn signed(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().signed)
    }

    /// Wraps a client.
    pub(crate) fn wrap(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Scripted { script: self.clone(), inner })
    }

    fn take(&self, operation: &str, signed: Option<&str>) -> Option<Act> {
        let mut shared = self.0.lock().unwrap();
        shared.signed.extend(signed.map(str::to_owned));
        shared.sent.push(operation.to_owned());
        let acts = shared.acts.iter_mut().filter(|(name, _)| *name == operation);
        acts.filter_map(|(_, acts)| acts.pop_front()).next()
    }
}

#[derive(Debug)]
struct Scripted {
    script: Script,
    inner: SharedHttpClient,
}

impl HttpClient for Scripted {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(ScriptedConnector { script: self.script.clone(), inner })
    }
}

#[derive(Debug)]
struct ScriptedConnector {
    script: Script,
    inner: SharedHttpConnector,
}

impl HttpConnector for ScriptedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let answer = |status: u16, body: String| {
            Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
        };
        match self.script.take(&operation, request.headers().get("x-amz-date")) {
            None | Some(Act::Pass) => self.inner.call(request),
            Some(Act::Answer(status, body)) => HttpConnectorFuture::ready(answer(status, body)),
            Some(Act::AnswerAt(status, body, date)) => {
                HttpConnectorFuture::ready(answer(status, body).map(|mut answer| {
                    answer.headers_mut().insert("date", date);
                    answer
                }))
            }
            Some(Act::Reply(reply)) => {
                let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
                HttpConnectorFuture::ready(answer(200, reply(&body).to_string()))
            }
            Some(Act::Change(change)) => {
                let inner = self.inner.call(request);
                HttpConnectorFuture::new(async move {
                    let response = inner.await?;
                    let mut body: Value =
                        serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
                    change(&mut body);
                    answer(200, body.to_string())
                })
            }
            Some(Act::LoseAnswer) => {
                let inner = self.inner.call(request);
                HttpConnectorFuture::new(async move {
                    inner.await?;
                    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                    Err(ConnectorError::io(reset.into()))
                })
            }
            Some(Act::NoSuchHost) => {
                let unknown = std::io::Error::other("failed to look up the address: no such host");
                HttpConnectorFuture::ready(Err(ConnectorError::io(unknown.into())))
            }
            Some(Act::Refuse) => {
                let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                HttpConnectorFuture::ready(Err(ConnectorError::io(refused.into())))
            }
        }
    }
}
