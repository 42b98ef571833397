//! What AWS's control plane does to a table's start and management: refusals that pass, answers that are lost,
//! states that last.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dynamodb_support;

use std::time::Duration;

use dynamodb_support::aws::{ON_DEMAND, open, server, table, ttl};
use dynamodb_support::script::{Act, Script};
use millpond::ErrorKind;
use millpond::clock::Clock;

const LATER: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

fn wrong_signature() -> Act {
    let body = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
    Act::AnswerAt(400, body.to_owned(), LATER)
}

/// It used to end the start, though the SDK knew better by then.
#[tokio::test(start_paused = true)]
async fn a_wrong_clock_costs_a_request() {
    let script = Script::default();
    script.next("DescribeTable", [wrong_signature(), table("ACTIVE", ON_DEMAND)]);
    script.next("DescribeTimeToLive", [ttl("ENABLED")]);
    let (opened, warned) = open(&server(), &script).await;
    opened.unwrap();
    assert_eq!(warned, Vec::<String>::new());
    let signed = script.signed();
    assert!(!signed[0].starts_with("2100"), "{signed:?}");
    assert!(signed[1].starts_with("21000101T0"), "the SDK signs by the server's clock: {signed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_goes_on_being_refused_ends_the_start_and_names_clock_and_keys() {
    for code in ["InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired"] {
        let script = Script::default();
        script.next("DescribeTable", (0..99).map(|_| Act::error(400, code)));
        let clock = Clock::system();
        let began = clock.now();
        let (opened, _) = open(&server(), &script).await;
        let error = opened.unwrap_err();
        assert!(clock.now() - began < Duration::from_secs(5));
        assert_eq!(error.kind(), ErrorKind::Store);
        let expected = format!(
            "DescribeTable on table millpond-state in eu-west-1 failed: {code}: scripted; look at the \
             machine's clock, and at aws.credentials.provider and its keys"
        );
        assert_eq!(error.to_string(), expected);
    }
}
