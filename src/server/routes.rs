//! The routes, and what answers them.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::flink;
use crate::clock::Clock;
use crate::runtime::{JobState, JobStatus};

/// What handlers see.
#[derive(Clone)]
struct Shared {
    status: watch::Receiver<JobStatus>,
    clock: Arc<Clock>,
}

/// All routes over one status. Flink's are there twice, since its own client puts the version of the API before
/// each path.
pub(super) fn router(status: watch::Receiver<JobStatus>, clock: Clock) -> Router {
    let flink = Router::new()
        .route("/overview", get(overview))
        .route("/jobs/overview", get(jobs))
        .route("/jobs/{id}", get(job))
        .route("/jobs/{id}/checkpoints", get(checkpoints));
    Router::new()
        .route("/health", get(health))
        .merge(flink.clone())
        .nest("/v1", flink)
        .fallback(missing)
        .method_not_allowed_fallback(not_allowed)
        .with_state(Shared { status, clock: Arc::new(clock) })
}

/// 200 as long as the job is doing or has done its work, 503 once it has failed.
async fn health(State(shared): State<Shared>) -> Response {
    let status = shared.status.borrow();
    let code = match status.state {
        JobState::Failing | JobState::Failed => StatusCode::SERVICE_UNAVAILABLE,
        JobState::Created
        | JobState::Initializing
        | JobState::Running
        | JobState::Restarting
        | JobState::Finished
        | JobState::Cancelling
        | JobState::Canceled => StatusCode::OK,
    };
    (code, Json(json!({ "state": status.state }))).into_response()
}

async fn overview(State(shared): State<Shared>) -> Json<Value> {
    Json(flink::overview(&shared.status.borrow()))
}

async fn jobs(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "jobs": [flink::summary(&shared.status.borrow(), shared.clock.wall_ms())] }))
}

/// Of a request: the id in its path, or why there is none.
type Id = Result<Path<String>, PathRejection>;

async fn job(State(shared): State<Shared>, id: Id) -> Response {
    answer(&shared, id, |status| flink::details(status, shared.clock.wall_ms()))
}

async fn checkpoints(State(shared): State<Shared>, id: Id) -> Response {
    answer(&shared, id, flink::checkpoints)
}

/// The job by its id, or by its name, which is easier to type.
fn answer(shared: &Shared, id: Id, body: impl FnOnce(&JobStatus) -> Value) -> Response {
    let Path(id) = match id {
        Ok(id) => id,
        Err(rejected) => return errors(rejected.status(), rejected.body_text()),
    };
    let status = shared.status.borrow();
    if id == status.id || id == status.name {
        Json(body(&status)).into_response()
    } else {
        errors(StatusCode::NOT_FOUND, format!("Job {id} not found"))
    }
}

async fn missing() -> Response {
    errors(StatusCode::NOT_FOUND, "Not found.".to_owned())
}

async fn not_allowed() -> Response {
    let refused =
        errors(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are served.".to_owned());
    ([(header::ALLOW, "GET, HEAD")], refused).into_response()
}

/// Flink: `ErrorResponseBody`.
fn errors(code: StatusCode, message: String) -> Response {
    (code, Json(json!({ "errors": [message] }))).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::http::request::Builder;
    use tower::ServiceExt;

    use super::*;
    use crate::dynamodb::{Purpose, Share};
    use crate::metrics::{Lag, Pauses};
    use crate::runtime::{
        CheckpointEntry, CheckpointState, PricedShare, Restore, Ship, Vertex, VertexInput, hex_id,
    };

    /// The fields of a job that Flink's REST API has too.
    const OF_FLINK: [&str; 15] = [
        "jid",
        "name",
        "isStoppable",
        "state",
        "job-type",
        "start-time",
        "end-time",
        "duration",
        "maxParallelism",
        "now",
        "timestamps",
        "vertices",
        "status-counts",
        "plan",
        "pending-operators",
    ];

    fn status() -> JobStatus {
        let mut status = JobStatus {
            name: "route_stats".to_owned(),
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            state: JobState::Running,
            started_ms: 1_000,
            max_parallelism: 128,
            lag: Lag::bytes(9),
            pauses: Pauses { number: 4, median_us: 300, longest_us: 900 },
            entered_ms: [
                (JobState::Created, 1_000),
                (JobState::Initializing, 1_010),
                (JobState::Running, 1_200),
            ]
            .into(),
            vertices: vec![
                Vertex {
                    id: "lines".to_owned(),
                    name: "source lines".to_owned(),
                    parallelism: 2,
                    inputs: Vec::new(),
                    records_in: 7,
                    records_out: 6,
                    filter_false_positives: None,
                },
                Vertex {
                    id: "counts".to_owned(),
                    name: "keyed counts [total]".to_owned(),
                    parallelism: 2,
                    inputs: vec![VertexInput { from: "lines".to_owned(), ship: Ship::Hash }],
                    records_in: 6,
                    records_out: 6,
                    filter_false_positives: Some(0.01),
                },
            ],
            ..JobStatus::default()
        };
        status.cost.usd_per_hour = 0.5;
        status.cost.shares.push(PricedShare {
            share: Share {
                operator: "counts".to_owned(),
                state: Some("total".to_owned()),
                purpose: Purpose::Log,
                read_units: 0.0,
                write_units: 8.0,
            },
            usd: Some(5e-6),
        });
        status.throttling.last = Some("ThrottlingError on key group 17 of counts/total".to_owned());
        status.checkpoints.counts.completed = 1;
        status.checkpoints.restored = Some(Restore {
            checkpoint: 3,
            restored_ms: 1_200,
            duration_ms: 20,
            position: 0,
            entries: 0,
            first_record_ms: Some(1),
        });
        status.checkpoints.record(CheckpointEntry {
            id: 4,
            status: CheckpointState::Completed,
            triggered_ms: 2_000,
            last_ack_ms: Some(2_010),
            duration_ms: 15,
            written_bytes: 100,
            log_bytes: 300,
            entries: 5,
            subtasks: 4,
            acknowledged: 4,
            position: 7,
            failure: None,
        });
        status
    }

    async fn get(path: &str, status: JobStatus) -> (StatusCode, Value) {
        ask(Request::get(path), status).await
    }

    async fn ask(request: Builder, status: JobStatus) -> (StatusCode, Value) {
        let (_sender, receiver) = watch::channel(status);
        let request = request.body(Body::empty()).unwrap();
        let answer = router(receiver, Clock::starting_at(5_000)).oneshot(request).await.unwrap();
        let code = answer.status();
        let allowed = answer.headers().get_all(header::ALLOW).iter().count();
        assert_eq!(allowed, usize::from(code == StatusCode::METHOD_NOT_ALLOWED));
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (code, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_overview_of_jobs_has_flinks_fields() {
        let (code, body) = get("/jobs/overview", status()).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(
            body,
            json!({ "jobs": [{
                "jid": "0123456789abcdef0123456789abcdef",
                "name": "route_stats",
                "state": "RUNNING",
                "start-time": 1000,
                "end-time": -1,
                "duration": 4000,
                "last-modification": 1200,
                "tasks": {
                    "total": 4, "created": 0, "scheduled": 0, "deploying": 0, "running": 4,
                    "finished": 0, "canceling": 0, "canceled": 0, "failed": 0,
                    "reconciling": 0, "initializing": 0,
                },
            }] })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_has_its_vertices_and_answers_to_its_name_too() {
        let (code, body) = get("/jobs/route_stats", status()).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body["jid"], "0123456789abcdef0123456789abcdef");
        assert_eq!(body["maxParallelism"], 128);
        assert_eq!(body["now"], 5000);
        assert_eq!(body["lag"], json!({ "records": null, "bytes": 9 }));
        let pauses = json!({ "number": 4, "median_us": 300, "longest_us": 900 });
        assert_eq!(body["checkpoint-pauses"], pauses);
        let vertex = &body["vertices"][0];
        assert_eq!(vertex["status"], "RUNNING");
        assert_eq!(vertex["metrics"]["read-records"], 7);
        assert_eq!(vertex["metrics"]["write-records"], 6);
        assert_eq!(body["status-counts"]["RUNNING"], 2);
        assert_eq!(body["cost"]["usd_per_hour"], 0.5);
        assert_eq!(body["cost"]["billing"], "on-demand");
        let share = json!({
            "operator": "counts", "state": "total", "purpose": "log", "read_units": 0.0,
            "write_units": 8.0, "usd": 5e-6,
        });
        assert_eq!(body["cost"]["shares"][0], share);
        let last = "ThrottlingError on key group 17 of counts/total";
        assert_eq!(body["throttling"]["last"], last);
    }

    /// A standby used to look like a job that never completes a checkpoint.
    #[tokio::test(start_paused = true)]
    async fn a_process_that_waits_for_another_says_so() {
        let waits = JobStatus { waiting_for: Some(3), ..status() };
        for (status, expected) in [(waits, json!(3)), (status(), Value::Null)] {
            let (_, body) = get("/jobs/route_stats", status).await;
            assert_eq!(body.get("waiting-for"), Some(&expected));
        }
    }

    /// Flink's client asks for `/v1/...` alone.
    #[tokio::test(start_paused = true)]
    async fn each_path_of_flinks_is_there_with_the_version_before_it() {
        let paths =
            ["/overview", "/jobs/overview", "/jobs/route_stats", "/jobs/route_stats/checkpoints"];
        for path in paths {
            let plain = get(path, status()).await;
            assert_eq!(plain.0, StatusCode::OK, "{path}");
            assert_eq!(get(&format!("/v1{path}"), status()).await, plain, "{path}");
        }
        assert_eq!(get("/v1/jobs/other", status()).await.0, StatusCode::NOT_FOUND);
        assert_eq!(get("/v1/nowhere", status()).await.0, StatusCode::NOT_FOUND);
        let (code, body) = ask(Request::post("/v1/jobs/overview"), status()).await;
        assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
        assert!(body["errors"][0].is_string(), "{body}");
    }

    /// Flink's clients refuse an answer that lacks a field, or has an id that is not of 32 digits.
    #[tokio::test(start_paused = true)]
    async fn a_job_has_every_field_that_flinks_clients_ask_for() {
        let (_, body) = get("/jobs/route_stats", status()).await;
        let id = "0123456789abcdef0123456789abcdef";
        let (lines, counts) = (hex_id("lines"), hex_id("counts"));
        let only = |fields: &[&str], of: &Value| -> Value {
            let field = |name: &&str| ((*name).to_owned(), of[*name].clone());
            Value::Object(fields.iter().map(field).collect())
        };
        let fields: Vec<_> = OF_FLINK.into_iter().filter(|name| *name != "vertices").collect();
        let expected = json!({
            "jid": id,
            "name": "route_stats",
            "isStoppable": false,
            "state": "RUNNING",
            "job-type": "STREAMING",
            "start-time": 1000,
            "end-time": -1,
            "duration": 4000,
            "maxParallelism": 128,
            "now": 5000,
            "timestamps": {
                "CREATED": 1000, "INITIALIZING": 1010, "RUNNING": 1200, "RESTARTING": 0,
                "FAILING": 0, "FAILED": 0, "CANCELLING": 0, "CANCELED": 0, "FINISHED": 0,
                "SUSPENDED": 0, "RECONCILING": 0,
            },
            "status-counts": {
                "CREATED": 0, "SCHEDULED": 0, "DEPLOYING": 0, "RUNNING": 2, "FINISHED": 0,
                "CANCELING": 0, "CANCELED": 0, "FAILED": 0, "RECONCILING": 0, "INITIALIZING": 0,
            },
            "plan": {
                "jid": id,
                "name": "route_stats",
                "type": "STREAMING",
                "nodes": [
                    {
                        "id": lines, "parallelism": 2, "operator": "", "operator_strategy": "",
                        "description": "source lines", "inputs": [], "optimizer_properties": {},
                    },
                    {
                        "id": counts, "parallelism": 2, "operator": "", "operator_strategy": "",
                        "description": "keyed counts [total]",
                        "inputs": [{
                            "num": 0, "id": lines, "ship_strategy": "HASH",
                            "exchange": "pipelined_bounded",
                        }],
                        "optimizer_properties": {},
                    },
                ],
            },
            "pending-operators": 0,
        });
        assert_eq!(only(&fields, &body), expected);
        let fields = [
            "id",
            "slotSharingGroupId",
            "operator",
            "name",
            "maxParallelism",
            "parallelism",
            "status",
            "start-time",
            "end-time",
            "duration",
        ];
        let expected = json!({
            "id": counts,
            "slotSharingGroupId": id,
            "operator": "counts",
            "name": "keyed counts [total]",
            "maxParallelism": 128,
            "parallelism": 2,
            "status": "RUNNING",
            "start-time": 1000,
            "end-time": -1,
            "duration": 4000,
        });
        let vertex = &body["vertices"][1];
        assert_eq!(only(&fields, vertex), expected);
        assert_eq!(vertex["filter-false-positives"], 0.01);
        assert_eq!(vertex["tasks"].as_object().unwrap().len(), 10);
        assert_eq!(vertex["metrics"].as_object().unwrap().len(), 11);
        assert!(counts.len() == 32 && counts.bytes().all(|b| b.is_ascii_hexdigit()), "{counts}");
    }

    /// The names of the fields in `value`, with dots, but for those of lists and of reasons.
    fn fields_of(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value.as_object().filter(|_| prefix != "throttling.reasons") {
            Some(fields) => fields.iter().for_each(|(name, value)| {
                let dot = if prefix.is_empty() { "" } else { "." };
                fields_of(&format!("{prefix}{dot}{name}"), value, found);
            }),
            None => drop(found.insert(prefix.to_owned())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_field_that_flink_lacks_is_in_the_documents_table_and_nothing_else() {
        let (_, mut body) = get("/jobs/route_stats", status()).await;
        let answered = body.as_object_mut().unwrap();
        assert!(OF_FLINK.iter().all(|name| answered.remove(*name).is_some()));
        let mut fields = BTreeSet::new();
        fields_of("", &body, &mut fields);
        let page = include_str!("../../docs/operations.md");
        let section = page.split("\n### Fields of the status\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
        assert_eq!(fields, documented);
    }

    #[tokio::test(start_paused = true)]
    async fn checkpoints_have_counts_summary_latest_and_history() {
        let path = "/jobs/0123456789abcdef0123456789abcdef/checkpoints";
        let (code, body) = get(path, status()).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body["counts"]["completed"], 1);
        assert_eq!(body["summary"]["end_to_end_duration"]["max"], 15);
        assert_eq!(body["summary"]["checkpointed_size"]["avg"], 100);
        assert_eq!(body["latest"]["completed"]["id"], 4);
        assert_eq!(body["latest"]["failed"], Value::Null);
        assert_eq!(body["latest"]["savepoint"], Value::Null);
        assert_eq!(body["latest"]["restored"]["id"], 3);
        assert_eq!(body["latest"]["restored"]["restore_timestamp"], 1200);
        let entry = &body["history"][0];
        assert_eq!(entry["className"], "completed");
        assert_eq!(entry["status"], "COMPLETED");
        assert_eq!(entry["trigger_timestamp"], 2000);
        assert_eq!(entry["latest_ack_timestamp"], 2010);
        assert_eq!(entry["checkpointed_size"], 100);
        assert_eq!(entry["state_size"], 300);
        assert_eq!(entry["num_acknowledged_subtasks"], 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_404_in_flinks_form() {
        for path in ["/jobs/other", "/jobs/other/checkpoints", "/nowhere"] {
            let (code, body) = get(path, status()).await;
            assert_eq!(code, StatusCode::NOT_FOUND, "{path}");
            assert!(body["errors"][0].is_string(), "{path}: {body}");
        }
    }

    /// They used to be plain text, and nothing.
    #[tokio::test(start_paused = true)]
    async fn what_is_asked_wrongly_is_an_error_in_flinks_form() {
        for path in ["/jobs/%FF", "/jobs/%FF/checkpoints"] {
            let (code, body) = get(path, status()).await;
            assert_eq!(code, StatusCode::BAD_REQUEST, "{path}");
            assert!(body["errors"][0].as_str().unwrap().contains("UTF-8"), "{path}: {body}");
        }
        for path in ["/health", "/jobs/overview", "/jobs/route_stats"] {
            let (code, body) = ask(Request::post(path), status()).await;
            assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert!(body["errors"][0].is_string(), "{path}: {body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn health_is_503_once_the_job_has_failed() {
        assert_eq!(get("/health", status()).await.0, StatusCode::OK);
        let failed = JobStatus { state: JobState::Failed, ..status() };
        let (code, body) = get("/health", failed).await;
        assert_eq!((code, &body["state"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("FAILED")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_cluster_overview_counts_the_one_job() {
        let (_, body) = get("/overview", status()).await;
        assert_eq!(body["jobs-running"], 1);
        assert_eq!(body["jobs-finished"], 0);
        assert_eq!(body["slots-total"], 2);
    }
}
