//! The connector between the SDK and the real one, and the life of a call in it.
//!
//! Owns the ways there and back, the trace, and what becomes of a request whose caller gives up. What
//! happens at the server is `course`'s.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpRequest;
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
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) inner: SharedHttpConnector,
    pub(super) plan: Arc<Plan>,
    number: u64,
    began: Instant,
    pub(super) operation: String,
    target: String,
    pub(super) fate: Fate,
    /// Until it gets to the server, or surely never will.
    pub(super) request: Option<HttpRequest>,
    traced: bool,
    /// For the trace.
    notes: String,
    over: bool,
}

impl Call {
    fn new(connector: &Connector, request: HttpRequest) -> Self {
        let shared = Arc::clone(&connector.shared);
        let (number, plan) = shared.begin();
        let operation = request::operation(&request);
        let fate = fate::decide(&plan, &operation, Dice::of(shared.seed, number));
        let traced = shared.traced();
        let target = match traced {
            true => request::target(&operation, &request::body(&request)),
            false => String::new(),
        };
        Self {
            inner: connector.inner.clone(),
            began: shared.clock.now(),
            request: Some(request),
            notes: String::new(),
            over: false,
            shared,
            plan,
            number,
            operation,
            target,
            fate,
            traced,
        }
    }

    async fn run(mut self) -> Answer {
        let answer = self.course().await;
        self.over = true;
        self.tell(&answer);
        answer
    }

    async fn course(&mut self) -> Answer {
        if let Some(time) = self.fate.held_back {
            self.strike(Fault::Overtaken);
            self.shared.wait(time).await;
        }
        self.shared.wait(self.fate.there).await;
        self.shared.land(Some(self.shared.clock.now())).await;
        let request = self.request.as_ref().and_then(|request| request.body().bytes());
        if !self.crosses(request.map_or(0, <[u8]>::len)).await {
            self.request = None;
            return self.time_out().await;
        }
        let answer = self.at_the_server().await;
        let body = answer.as_ref().ok().and_then(|answer| answer.body().bytes());
        if !self.crosses(body.map_or(0, <[u8]>::len)).await {
            return self.time_out().await;
        }
        if let Some(time) = self.fate.slow {
            self.strike(Fault::Slow);
            self.shared.wait(time).await;
        }
        self.shared.wait(self.fate.back).await;
        answer
    }

    /// Waits until so much has crossed the plan's line; whether it does before the caller gives up.
    async fn crosses(&self, bytes: usize) -> bool {
        let Some(line) = self.plan.line else { return true };
        let time = Duration::from_secs_f64(bytes as f64 / line.max(1) as f64);
        let passed = self.shared.clock.now() - self.began;
        let in_time = passed + time < self.plan.timeout;
        if in_time {
            self.shared.wait(time).await;
        }
        in_time
    }

    /// Counts a fault, and has the trace tell it.
    pub(super) fn strike(&mut self, fault: Fault) {
        self.shared.count(fault);
        self.note(fault.name());
    }

    /// Has the trace tell it.
    pub(super) fn note(&mut self, text: &str) {
        if self.traced {
            self.notes.push_str(", ");
            self.notes.push_str(text);
        }
    }

    /// Waits until the caller gives up.
    pub(super) async fn time_out(&self) -> Answer {
        let passed = self.shared.clock.now() - self.began;
        self.shared.wait(self.plan.timeout.saturating_sub(passed)).await;
        Err(answers::timed_out(self.plan.timeout))
    }

    /// Has `request` land so long after the call began.
    pub(super) fn post(&self, request: Option<HttpRequest>, after: Duration) {
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
        if self.traced {
            let outcome = match answer {
                Ok(answer) => answer.status().as_u16().to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let outcome = outcome + &self.notes;
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
            self.strike(Fault::Abandoned);
            self.post(Some(request), after);
        }
        if self.traced {
            let outcome = format!("given up{}", self.notes);
            self.shared.tell(self.number, &self.operation, &self.target, outcome);
        }
    }
}
