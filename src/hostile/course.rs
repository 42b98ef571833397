//! What happens to a call at the server: applied or not, in part or twice, and what is answered.

use aws_sdk_dynamodb::config::http::HttpRequest;
use serde_json::{Value, json};

use super::answers::{self, Answer};
use super::batch::{self, Parts};
use super::connector::Call;
use super::plan::Fault;
use super::request::{self, Part};
use super::server;
use super::throttling::Reason;

impl Call {
    /// Goes by the call's fate.
    pub(super) async fn at_the_server(&mut self) -> Answer {
        let Some(fault) = self.fate.ending else { return self.deliver().await };
        match fault {
            Fault::StatementsThrottled => return self.statements_throttled().await,
            Fault::StatementsFailed => return self.statements_failed().await,
            Fault::Unprocessed => return self.unprocessed().await,
            Fault::Stale => return self.stale().await,
            _ => self.strike(fault),
        }
        match fault {
            Fault::Unreachable => self.lost(Err(answers::refused())),
            Fault::ResetBefore => self.lost(Err(answers::reset())),
            Fault::Throttled => self.throttled(),
            Fault::InternalError => {
                let answer = self.internal_error();
                self.lost(answer)
            }
            Fault::TimedOut => {
                self.request = None;
                self.time_out().await
            }
            Fault::Late => {
                let request = self.request.take();
                self.post(request, self.plan.timeout + self.fate.later);
                self.time_out().await
            }
            Fault::Twice => {
                let copy = self.copy();
                self.post(copy, self.fate.later);
                self.deliver().await
            }
            _ => self.applied(fault).await,
        }
    }

    /// The faults of which the request is applied, and the answer is lost.
    async fn applied(&mut self, fault: Fault) -> Answer {
        let copy = self.copy();
        let answer = self.deliver().await?;
        match fault {
            Fault::InternalErrorApplied => self.internal_error(),
            Fault::AnswerLost => self.time_out().await,
            Fault::ResetAfter => Err(answers::reset()),
            Fault::Truncated => answers::cut(answer, &mut self.fate.dice),
            Fault::Redelivered => {
                self.request = copy;
                self.deliver().await
            }
            _ => Ok(answer),
        }
    }

    fn copy(&self) -> Option<HttpRequest> {
        self.request.as_ref().and_then(HttpRequest::try_clone)
    }

    /// The request never gets there.
    fn lost(&mut self, answer: Answer) -> Answer {
        self.request = None;
        answer
    }

    fn internal_error(&mut self) -> Answer {
        if self.fate.dice.chance(0.5) {
            answers::error(500, "InternalServerError", "Internal server error")
        } else {
            answers::error(503, "ServiceUnavailable", "The service is unavailable")
        }
    }

    fn throttled(&mut self) -> Answer {
        let (writes, reads) = (request::writes(&self.operation), request::reads(&self.operation));
        if !(writes || reads) {
            return self.lost(answers::error(400, "ThrottlingException", "Rate exceeded"));
        }
        let reason = Reason::any(writes, &mut self.fate.dice);
        self.refused(reason)
    }

    /// The request is refused whole.
    fn refused(&mut self, reason: Reason) -> Answer {
        self.note(&reason.name());
        let body = self.body();
        let parts = request::parts(&self.operation, &body);
        let of_parts = parts.first().map(|part| part.table.as_str());
        let table = of_parts.or(body["TableName"].as_str()).unwrap_or_default();
        self.lost(reason.refusal(table))
    }

    fn body(&self) -> Value {
        self.request.as_ref().map(request::body).unwrap_or_default()
    }

    /// Applies the request, as far as the table's limits let it.
    async fn deliver(&mut self) -> Answer {
        let writes = request::writes(&self.operation);
        let counted = writes || request::reads(&self.operation);
        if !counted || !self.shared.ledger(|ledger| ledger.limits()) {
            return self.apply().await;
        }
        let body = self.body();
        let mut parts = request::parts(&self.operation, &body);
        if parts.is_empty() {
            let table = body["TableName"].as_str().unwrap_or_default().to_owned();
            parts.push(Part { table, key: Value::Null, put: None });
        }
        let now = self.shared.clock.now();
        let refused = self.shared.ledger(|ledger| ledger.refuse(&parts, writes, now));
        let Some(reason) = refused.iter().flatten().next().copied() else {
            return self.apply().await;
        };
        self.shared.count_over_limit();
        let kept: Parts = (0..parts.len()).filter(|n| refused[*n].is_some()).collect();
        let statements = self.operation == "BatchExecuteStatement";
        let in_part = matches!(&*self.operation, "BatchGetItem" | "BatchWriteItem");
        if statements || (in_part && kept.len() < parts.len()) {
            self.note(&reason.name());
            self.without(&kept, &reason.statement(), parts.len()).await
        } else {
            self.refused(reason)
        }
    }

    async fn apply(&mut self) -> Answer {
        match self.request.take() {
            Some(request) => {
                server::apply(&self.shared, &self.inner, &self.operation, request).await
            }
            None => Err(answers::reset()),
        }
    }

    /// Applies the request without the parts `kept`, for which `instead` is answered.
    async fn without(&mut self, kept: &Parts, instead: &Value, of: usize) -> Answer {
        self.note(&format!("{} of {of}", kept.len()));
        let body = self.body();
        let answer = match batch::rest(&self.operation, &body, kept) {
            Some(rest) => {
                let request = self.request.take();
                self.request = request.and_then(|r| request::rewritten(&r, None, &rest));
                self.apply().await?
            }
            None => {
                let nothing = batch::nothing(&self.operation);
                self.lost(answers::json(200, &nothing))?
            }
        };
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let whole = batch::completed(&self.operation, &body, kept, answers::body(&answer), instead);
        whole.map_or(Ok(answer), |whole| answers::json(200, &whole))
    }

    async fn statements_throttled(&mut self) -> Answer {
        self.strike(Fault::StatementsThrottled);
        let statements = request::parts(&self.operation, &self.body()).len();
        let kept = batch::some(statements, statements, &mut self.fate.dice);
        let reason = Reason::any(true, &mut self.fate.dice);
        self.note(&reason.name());
        self.without(&kept, &reason.statement(), statements).await
    }

    async fn statements_failed(&mut self) -> Answer {
        self.strike(Fault::StatementsFailed);
        let statements = request::parts(&self.operation, &self.body()).len();
        let failed = batch::some(statements, statements, &mut self.fate.dice);
        let kept: Parts = failed.iter().copied().filter(|_| self.fate.dice.chance(0.5)).collect();
        let error = json!({
            "Error": { "Code": "InternalServerError", "Message": "Internal server error" }
        });
        let answer = self.without(&kept, &error, statements).await?;
        let mut body = answers::body(&answer);
        let Some(responses) = body["Responses"].as_array_mut() else { return Ok(answer) };
        for (response, _) in responses.iter_mut().zip(0..).filter(|(_, n)| failed.contains(n)) {
            *response = error.clone();
        }
        answers::json(200, &body)
    }

    /// DynamoDB processes one part at least, or refuses the request.
    async fn unprocessed(&mut self) -> Answer {
        self.strike(Fault::Unprocessed);
        let parts = request::parts(&self.operation, &self.body()).len();
        if parts < 2 {
            return self.throttled();
        }
        let kept = batch::some(parts, parts - 1, &mut self.fate.dice);
        self.without(&kept, &Value::Null, parts).await
    }

    async fn stale(&mut self) -> Answer {
        let body = self.body();
        let answer = self.deliver().await?;
        let fresh = answers::body(&answer);
        let older = server::older(&self.shared, &self.operation, &body, fresh, &mut self.fate.dice);
        match older.filter(|_| answer.status().is_success()) {
            Some(older) => {
                self.strike(Fault::Stale);
                answers::json(200, &older)
            }
            None => Ok(answer),
        }
    }
}
