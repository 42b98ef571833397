//! A request, as far as the faults need to know it: its operation, its parts, the items they touch.
//!
//! Owns the reading of DynamoDB's request bodies and of `PartiQL` statements with parameters. Keys are
//! those of Millpond's table, `pk` and `sk`; items of other tables have no place, so faults that need
//! one pass them by.

use aws_sdk_dynamodb::config::http::HttpRequest;
use serde_json::{Value, json};

/// The names of a key's attributes.
const KEY: [&str; 2] = ["pk", "sk"];

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

/// Whether the operation reads items, and nothing else.
pub(super) fn reads(operation: &str) -> bool {
    matches!(operation, "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems")
}

/// The body as JSON; null where it is none.
pub(super) fn body(request: &HttpRequest) -> Value {
    let bytes = request.body().bytes().unwrap_or_default();
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// The same request with another body, and of another operation where one is named.
pub(super) fn rewritten(
    request: &HttpRequest,
    operation: Option<&str>,
    body: &Value,
) -> Option<HttpRequest> {
    let mut other = request.try_clone()?;
    let bytes = body.to_string().into_bytes();
    if let Some(operation) = operation {
        let target = format!("DynamoDB_20120810.{operation}");
        other.headers_mut().insert("x-amz-target", target);
    }
    if other.headers().get("content-length").is_some() {
        other.headers_mut().insert("content-length", bytes.len().to_string());
    }
    *other.body_mut() = bytes.into();
    Some(other)
}

/// One part of a request: an item that it reads or writes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) table: String,
    /// The item's key; null where it is not known.
    pub(super) key: Value,
    /// The item as it will be, where the request has it whole.
    pub(super) put: Option<Value>,
}

impl Part {
    fn of(table: &str, item: &Value, whole: bool) -> Self {
        Self { table: table.to_owned(), key: key_of(item), put: whole.then(|| item.clone()) }
    }

    /// The partition key.
    pub(super) fn pk(&self) -> Option<&str> {
        self.key["pk"]["S"].as_str()
    }

    /// What tells the item from others.
    pub(super) fn place(&self) -> Option<Place> {
        Place::of(&self.table, &self.key)
    }
}

/// A table, and the key of an item in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(String, String);

impl Place {
    /// Of an item, or a key.
    pub(super) fn of(table: &str, item: &Value) -> Option<Self> {
        Some(Self(table.to_owned(), place_of(item)?))
    }
}

/// The key of an item as one text.
fn place_of(item: &Value) -> Option<String> {
    let pk = item["pk"]["S"].as_str()?;
    let sk = item["sk"]["B"].as_str()?;
    Some(format!("{pk} {sk}"))
}

/// The key of an item.
pub(super) fn key_of(item: &Value) -> Value {
    let parts: Option<serde_json::Map<_, _>> =
        KEY.iter().map(|name| Some(((*name).to_owned(), item.get(name)?.clone()))).collect();
    parts.map_or(Value::Null, Value::Object)
}

/// The parts of a request, in the order in which they can be answered apart.
pub(super) fn parts(operation: &str, body: &Value) -> Vec<Part> {
    let table = body["TableName"].as_str().unwrap_or_default();
    match operation {
        "PutItem" => vec![Part::of(table, &body["Item"], true)],
        "GetItem" | "UpdateItem" | "DeleteItem" => vec![Part::of(table, &body["Key"], false)],
        "BatchGetItem" => {
            let keys = |items: &Value| list(&items["Keys"]).to_vec();
            of_tables(body, keys).map(|(table, key)| Part::of(table, &key, false)).collect()
        }
        "BatchWriteItem" => {
            of_tables(body, |items| list(items).to_vec()).map(|(t, w)| write(t, &w)).collect()
        }
        "BatchExecuteStatement" => list(&body["Statements"]).iter().map(statement).collect(),
        "ExecuteStatement" => vec![statement(body)],
        // All of one partition, whose key goes by the name that Millpond gives it.
        "Query" => {
            let pk = &body["ExpressionAttributeValues"][":pk"];
            vec![Part { table: table.to_owned(), key: json!({ "pk": pk }), put: None }]
        }
        "TransactWriteItems" => list(&body["TransactItems"]).iter().map(transacted).collect(),
        _ => Vec::new(),
    }
}

/// Whether a read of `table` asks for the newest values.
pub(super) fn consistent(body: &Value, table: &str) -> bool {
    let of_table = body["RequestItems"].get(table).unwrap_or(body);
    of_table["ConsistentRead"].as_bool().unwrap_or(false)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The tables of `RequestItems` in the order of their names, each with its parts.
pub(super) fn tables(body: &Value) -> Vec<(&String, &Value)> {
    let mut tables: Vec<_> = body["RequestItems"].as_object().into_iter().flatten().collect();
    tables.sort_by_key(|(name, _)| *name);
    tables
}

fn of_tables<'a>(
    body: &'a Value,
    of: impl Fn(&Value) -> Vec<Value> + 'a,
) -> impl Iterator<Item = (&'a str, Value)> {
    tables(body)
        .into_iter()
        .flat_map(move |(table, items)| of(items).into_iter().map(|item| (table.as_str(), item)))
}

fn write(table: &str, request: &Value) -> Part {
    match request.get("PutRequest") {
        Some(put) => Part::of(table, &put["Item"], true),
        None => Part::of(table, &request["DeleteRequest"]["Key"], false),
    }
}

fn transacted(item: &Value) -> Part {
    let action = item.as_object().and_then(|item| item.values().next()).unwrap_or(&Value::Null);
    let table = action["TableName"].as_str().unwrap_or_default();
    match action.get("Item") {
        Some(item) => Part::of(table, item, true),
        None => Part::of(table, &action["Key"], false),
    }
}

/// A statement whose values are all parameters: each is named by the quoted word before it.
fn statement(request: &Value) -> Part {
    let text = request["Statement"].as_str().unwrap_or_default();
    let (mut names, mut table, mut parameters) = (text.split(['"', '\'']), None, 0);
    let (mut last, mut quoted, mut item) = ("", false, json!({}));
    for word in &mut names {
        if quoted {
            table = table.or(Some(word));
            last = word;
        } else {
            for _ in word.matches('?') {
                item[last] = request["Parameters"][parameters].clone();
                parameters += 1;
            }
        }
        quoted = !quoted;
    }
    let whole = text.trim_start().to_ascii_uppercase().starts_with("INSERT");
    Part::of(table.unwrap_or_default(), &item, whole)
}

/// What the operation is about, in words: the item, with how many others; or the table.
pub(super) fn target(operation: &str, body: &Value) -> String {
    let parts = parts(operation, body);
    let Some(first) = parts.first() else {
        return body["TableName"].as_str().unwrap_or_default().to_owned();
    };
    let place = place_of(&first.key).or_else(|| first.pk().map(str::to_owned));
    let place = place.unwrap_or_else(|| first.table.clone());
    match parts.len() - 1 {
        0 => place,
        others => format!("{place} and {others} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(pk: &str) -> Value {
        json!({ "pk": { "S": pk }, "sk": { "B": "AA==" }, "v": { "N": "1" } })
    }

    fn places(operation: &str, body: &Value) -> Vec<Option<Place>> {
        parts(operation, body).iter().map(Part::place).collect()
    }

    fn place(pk: &str) -> Option<Place> {
        Some(Place("t".to_owned(), format!("{pk} AA==")))
    }

    #[test]
    fn parts_are_found_in_every_operation() {
        let key = |pk: &str| key_of(&item(pk));
        let body = json!({ "TableName": "t", "Item": item("a") });
        assert_eq!(places("PutItem", &body), [place("a")]);
        assert_eq!(parts("PutItem", &body)[0].put, Some(item("a")));
        let body = json!({ "TableName": "t", "Key": key("a") });
        assert_eq!(places("UpdateItem", &body), [place("a")]);
        let body = json!({ "RequestItems": { "t": { "Keys": [key("b"), key("a")] } } });
        assert_eq!(places("BatchGetItem", &body), [place("b"), place("a")]);
        let writes = [
            json!({ "PutRequest": { "Item": item("a") } }),
            json!({ "DeleteRequest": { "Key": key("b") } }),
        ];
        let body = json!({ "RequestItems": { "t": writes } });
        assert_eq!(places("BatchWriteItem", &body), [place("a"), place("b")]);
        let put = json!({ "Put": { "TableName": "t", "Item": item("c") } });
        let body = json!({ "TransactItems": [put] });
        assert_eq!(places("TransactWriteItems", &body), [place("c")]);
        assert_eq!(target("BatchWriteItem", &json!({ "RequestItems": {} })), "");
        let body =
            json!({ "TableName": "t", "ExpressionAttributeValues": { ":pk": { "S": "a" } } });
        let part = &parts("Query", &body)[0];
        assert_eq!((part.pk(), part.place()), (Some("a"), None));
        assert_eq!(target("Query", &body), "a");
    }

    #[test]
    fn statements_are_read() {
        let insert = json!({
            "Statement": r#"INSERT INTO "t" VALUE {'pk': ?, 'sk': ?, 'v': ?}"#,
            "Parameters": [{ "S": "a" }, { "B": "AA==" }, { "N": "1" }],
        });
        let update = json!({
            "Statement": r#"UPDATE "t" SET "v"=? REMOVE "ttl" WHERE "pk"=? AND "sk"=? AND "c"<?"#,
            "Parameters": [{ "N": "1" }, { "S": "b" }, { "B": "AA==" }, { "N": "7" }],
        });
        let body = json!({ "Statements": [insert, update] });
        assert_eq!(places("BatchExecuteStatement", &body), [place("a"), place("b")]);
        let found = parts("BatchExecuteStatement", &body);
        assert_eq!((&found[0].put, &found[1].put), (&Some(item("a")), &None));
        assert_eq!(target("BatchExecuteStatement", &body), "a AA== and 1 more");
    }

    #[test]
    fn tables_with_other_keys_have_no_places() {
        let body = json!({ "TableName": "other", "Key": { "id": { "S": "a" } } });
        assert_eq!(places("GetItem", &body), [None]);
        assert_eq!(target("GetItem", &body), "other");
    }
}
