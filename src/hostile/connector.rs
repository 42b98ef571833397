//! The connector between the SDK and the real one: each call takes the course of its fate.

use std::sync::Arc;

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};

use super::answers::{self, Answer};
use super::dice::Dice;
use super::fate::{self, Fate};
use super::handle::{Parcel, Shared};
use super::plan::{Fault, Plan};
use super::request;
use crate::clock::Instant;

/// Makes the connectors.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) inner: SharedHttpClient,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { shared: Arc::clone(&self.shared), inner })
    }
}

#[derive(Debug)]
struct Connector {
    shared: Arc<Shared>,
    inner: SharedHttpConnector,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(Call::new(self, request).run())
    }
}

/// One call of the SDK.
struct Call {
    shared: Arc<Shared>,
    inner: SharedHttpConnector,
    plan: Arc<Plan>,
    number: u64,
    began: Instant,
    operation: String,
    target: String,
    fate: Fate,
    /// Until it gets to the server, or surely never will.
    request: Option<HttpRequest>,
    over: bool,
}

impl Call {
    fn new(connector: &Connector, request: HttpRequest) -> Self {
        let shared = Arc::clone(&connector.shared);
        let (number, plan) = shared.begin();
        let operation = request::operation(&request);
        let fate = fate::decide(&plan, &operation, Dice::of(shared.seed, number));
        let target = match shared.traced() {
            true => request::target(&operation, &request::body(&request)),
            false => String::new(),
        };
        let (inner, began) = (connector.inner.clone(), shared.clock.now());
        let request = Some(request);
        Self { shared, inner, plan, number, began, operation, target, fate, request, over: false }
    }

    async fn run(mut self) -> Answer {
        let answer = self.course().await;
        self.over = true;
        self.tell(&answer);
        answer
    }

    async fn course(&mut self) -> Answer {
        if let Some(time) = self.fate.held_back {
            self.shared.count(Fault::Overtaken);
            self.shared.wait(time).await;
        }
        self.shared.wait(self.fate.there).await;
        self.shared.land(Some(self.shared.clock.now())).await;
        let answer = self.at_the_server().await;
        if let Some(time) = self.fate.slow {
            self.shared.count(Fault::Slow);
            self.shared.wait(time).await;
        }
        self.shared.wait(self.fate.back).await;
        answer
    }

    async fn at_the_server(&mut self) -> Answer {
        let Some(fault) = self.fate.ending else { return self.deliver().await };
        self.shared.count(fault);
        match fault {
            Fault::Unreachable => self.lose(answers::refused()),
            Fault::ResetBefore => self.lose(answers::reset()),
            Fault::TimedOut => {
                self.request = None;
                self.time_out().await
            }
            Fault::Late => {
                let request = self.request.take();
                self.post(request, self.plan.timeout + self.fate.later);
                self.time_out().await
            }
            Fault::Throttled => {
                self.request = None;
                answers::error(400, "ThrottlingException", "Rate exceeded")
            }
            Fault::InternalError => {
                self.request = None;
                answers::error(500, "InternalServerError", "Internal server error")
            }
            Fault::InternalErrorApplied => {
                self.deliver().await?;
                answers::error(500, "InternalServerError", "Internal server error")
            }
            Fault::AnswerLost => {
                self.deliver().await?;
                self.time_out().await
            }
            Fault::ResetAfter => {
                self.deliver().await?;
                Err(answers::reset())
            }
            Fault::Twice => {
                let copy = self.request.as_ref().and_then(HttpRequest::try_clone);
                self.post(copy, self.fate.later);
                self.deliver().await
            }
            Fault::Truncated => answers::cut(self.deliver().await?, &mut self.fate.dice),
            _ => self.deliver().await,
        }
    }

    async fn deliver(&mut self) -> Answer {
        match self.request.take() {
            Some(request) => self.inner.call(request).await,
            None => Err(answers::reset()),
        }
    }

    fn lose(&mut self, error: aws_smithy_runtime_api::client::result::ConnectorError) -> Answer {
        self.request = None;
        Err(error)
    }

    async fn time_out(&self) -> Answer {
        let passed = self.shared.clock.now() - self.began;
        self.shared.wait(self.plan.timeout.saturating_sub(passed)).await;
        Err(answers::timed_out(self.plan.timeout))
    }

    /// Has `request` land so long after the call began.
    fn post(&self, request: Option<HttpRequest>, after: std::time::Duration) {
        let Some(request) = request else { return };
        let parcel = Parcel {
            call: self.number,
            operation: self.operation.clone(),
            target: self.target.clone(),
            request,
            inner: self.inner.clone(),
        };
        self.shared.post(self.began + after, parcel);
    }

    fn tell(&self, answer: &Answer) {
        if self.shared.traced() {
            let outcome = outcome(self.fate.ending, answer);
            self.shared.tell(self.number, &self.operation, &self.target, outcome);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let under_way = self.request.take();
        if let (Some(after), Some(request)) = (self.fate.if_abandoned, under_way) {
            self.shared.count(Fault::Abandoned);
            self.post(Some(request), after);
        }
    }
}

fn outcome(fault: Option<Fault>, answer: &Result<HttpResponse, impl std::fmt::Debug>) -> String {
    let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
    match fault {
        None => status.to_string(),
        Some(fault) => format!("{status}, {}", fault.name()),
    }
}
