//! A request, as far as the faults need to know it: operation, body, and what it is about.

use aws_sdk_dynamodb::config::http::HttpRequest;
use serde_json::Value;

/// The operation's name: what follows the dot of `X-Amz-Target`.
pub(super) fn operation(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

/// Whether the operation changes items.
pub(super) fn writes(operation: &str) -> bool {
    matches!(
        operation,
        "PutItem"
            | "UpdateItem"
            | "DeleteItem"
            | "BatchWriteItem"
            | "BatchExecuteStatement"
            | "ExecuteStatement"
            | "TransactWriteItems"
            | "ExecuteTransaction"
    )
}

/// The body as JSON; null where it is none.
pub(super) fn body(request: &HttpRequest) -> Value {
    let bytes = request.body().bytes().unwrap_or_default();
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// What the operation is about: the item's key, with how many others; or the table.
pub(super) fn target(operation: &str, body: &Value) -> String {
    let table = body["TableName"].as_str();
    match operation {
        "PutItem" => key(&body["Item"]),
        "GetItem" | "UpdateItem" | "DeleteItem" => key(&body["Key"]),
        "BatchExecuteStatement" => {
            let statements = body["Statements"].as_array().map_or(&[][..], Vec::as_slice);
            format!("{} statements", statements.len())
        }
        _ => table.unwrap_or_default().to_owned(),
    }
}

/// An item's key in words: its partition key, and its sort key as it is sent.
fn key(item: &Value) -> String {
    let pk = item["pk"]["S"].as_str().unwrap_or("?");
    let sk = item["sk"]["B"].as_str().unwrap_or("?");
    format!("{pk} {sk}")
}
