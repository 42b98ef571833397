//! Any request to the status server.

use axum::body::{Body, to_bytes};
use http::Request;
use tokio::sync::watch;
use tower::ServiceExt;

use super::routes::router;
use crate::clock::Clock;
use crate::fuzzing::Target;
use crate::runtime::JobStatus;

/// `METHOD URI`, lines of headers, and a body after an empty line.
fn request(text: &[u8]) -> Option<Request<Body>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let at = first.iter().position(|byte| *byte == b' ')?;
    let (method, uri) = (&first[..at], &first[at + 1..]);
    let mut request = Request::builder().method(method).uri(uri);
    let rest = lines.by_ref().take_while(|line| !line.is_empty());
    for header in rest {
        let at = header.iter().position(|byte| *byte == b':')?;
        request = request.header(&header[..at], &header[at + 1..]);
    }
    let body: Vec<u8> = lines.flatten().copied().collect();
    request.body(Body::from(body)).ok()
}

#[test]
fn any_request_is_answered() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let clock = Clock::starting_at(5_000);
    let target = Target::new("rest")
        .seed("GET /jobs/overview")
        .seed("GET /v1/jobs/counting")
        .seed("GET /overview\naccept: text/html\n\nbody")
        .seed("GET /jobs/0123456789abcdef0123456789abcdef/checkpoints?x=%20#y")
        .seed("POST /jobs/counting\ncontent-type: application/json\n\n{\"x\":[1]}")
        .seed("GET /health");
    let tokens =
        ["%00", "%2f", "%c3", "..", "//", "?", "#", "HEAD ", "OPTIONS ", "/jobs/", "/checkpoints"];
    target.tokens(&tokens).run(|text| {
        let Some(request) = request(text) else { return "no request".to_owned() };
        let path = request.uri().path().to_owned();
        let status = JobStatus { name: "counting".to_owned(), ..JobStatus::default() };
        let (_sender, receiver) = watch::channel(status);
        let (code, body) = runtime.block_on(async {
            let answer = router(receiver, clock).oneshot(request).await.unwrap();
            (answer.status(), to_bytes(answer.into_body(), usize::MAX).await.unwrap())
        });
        assert!(!code.is_server_error(), "{path}: {code}");
        if code.is_success() && !body.is_empty() {
            let _: serde_json::Value = serde_json::from_slice(&body).unwrap();
        }
        code.to_string()
    });
}
