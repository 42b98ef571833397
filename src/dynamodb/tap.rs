//! A listener between the SDK and an embedded database: every write that took effect, in its order.
//!
//! Owns the reading of requests and of their effects; for tests, which compare what is in the table
//! with what ought to be. It stands directly in front of the database, below whatever loses, delays
//! or repeats requests, so that it sees what the table holds and not what somebody meant.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::base64;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

use super::head_item;
use super::item::{self, Attributes, PK, SK};
use super::parts::Row;
use crate::checkpoint::Head;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Incarnation, Name, SlotId};
use crate::key_group::KeyGroup;
use crate::state::{Block, BlockKey, BlockKind, ItemKey};

/// What one write left in the table; `None` where it deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A head.
    Head(Name, Option<Box<Head>>),
    /// A part of a state item or of a tombstone, under its own sort key.
    Item(Name, Incarnation, ItemKey, Option<Row>),
    /// A segment or a part of a manifest.
    Block(Name, Incarnation, BlockKey, Option<Block>),
    /// Something that is none of these: why.
    Unknown(String),
}

/// Told of every write, at once.
pub type Listener = Arc<dyn Fn(Written) + Send + Sync>;

/// Puts `listener` in front of `inner`, which must answer each request before its future waits for
/// anything: an embedded database that runs inline.
#[must_use]
pub fn tap(inner: SharedHttpClient, listener: Listener) -> SharedHttpClient {
    SharedHttpClient::new(Tap { inner, listener })
}

#[derive(Clone)]
struct Tap {
    inner: SharedHttpClient,
    listener: Listener,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

impl HttpClient for Tap {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(TapConnector { inner, listener: Arc::clone(&self.listener) })
    }
}

#[derive(Clone)]
struct TapConnector {
    inner: SharedHttpConnector,
    listener: Listener,
}

impl fmt::Debug for TapConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TapConnector")
    }
}

impl HttpConnector for TapConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        if !matches!(
            &*operation,
            "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "BatchExecuteStatement"
        ) {
            return self.inner.call(request);
        }
        let tap = self.clone();
        HttpConnectorFuture::new(async move {
            let sent = parse(request.body().bytes());
            let (uri, headers) = (request.uri().to_owned(), target_headers(&request));
            let response = tap.inner.call(request).await?;
            if response.status().as_u16() == 200 {
                let again = Again { connector: &tap.inner, uri, headers };
                let answer = parse(response.body().bytes());
                match effects(&operation, &sent, &answer, &again).await {
                    Ok(effects) => effects.into_iter().for_each(|w| (tap.listener)(w)),
                    Err(error) => (tap.listener)(Written::Unknown(error.to_string())),
                }
            }
            Ok(response)
        })
    }
}

fn target_headers(request: &HttpRequest) -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    request.headers().iter().filter(|(name, _)| *name != "x-amz-target").map(owned).collect()
}

fn parse(body: Option<&[u8]>) -> Value {
    body.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or(Value::Null)
}

/// The way to read back what a statement has left.
struct Again<'a> {
    connector: &'a SharedHttpConnector,
    uri: String,
    headers: Vec<(String, String)>,
}

impl Again<'_> {
    /// The items under `keys`, in any order.
    async fn read(&self, table: &str, keys: &[Value]) -> Result<Vec<Attributes>> {
        let body = json!({"RequestItems": {table: {"Keys": keys, "ConsistentRead": true}}});
        let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
        request.set_uri(self.uri.clone()).map_err(|e| strange(&e))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        request.headers_mut().insert("x-amz-target", "DynamoDB_20120810.BatchGetItem");
        let answer: HttpResponse = self.connector.call(request).await.map_err(|e| strange(&e))?;
        let answer = parse(answer.body().bytes());
        let found = answer["Responses"][table].as_array();
        found.map_or(&[][..], Vec::as_slice).iter().map(attributes).collect()
    }
}

async fn effects(
    operation: &str,
    sent: &Value,
    answer: &Value,
    again: &Again<'_>,
) -> Result<Vec<Written>> {
    match operation {
        "PutItem" => Ok(vec![present(attributes(&sent["Item"])?)?]),
        "UpdateItem" => {
            // The answer shows the whole item: every update of ours asks for that.
            let mut whole = attributes(&answer["Attributes"])?;
            whole.extend(attributes(&sent["Key"])?);
            Ok(vec![present(whole)?])
        }
        "DeleteItem" => Ok(vec![absent(&attributes(&sent["Key"])?)?]),
        "BatchWriteItem" => deletes(sent),
        _ => statements(sent, again).await,
    }
}

fn deletes(sent: &Value) -> Result<Vec<Written>> {
    let tables = sent["RequestItems"].as_object();
    let requests = tables.into_iter().flat_map(|t| t.values()).filter_map(Value::as_array);
    let written = |request: &Value| match request.get("DeleteRequest") {
        Some(delete) => absent(&attributes(&delete["Key"])?),
        None => present(attributes(&request["PutRequest"]["Item"])?),
    };
    requests.flatten().map(written).collect()
}

/// What a batch of statements has left is read back: their words do not tell it.
async fn statements(sent: &Value, again: &Again<'_>) -> Result<Vec<Written>> {
    let list = sent["Statements"].as_array().map_or(&[][..], Vec::as_slice);
    let mut table = None;
    let mut keys = Vec::with_capacity(list.len());
    for statement in list {
        let text = statement["Statement"].as_str().unwrap_or_default();
        table = text.split('"').nth(1).or(table);
        // The only string among the parameters is the partition key; the sort key follows it.
        let parameters = statement["Parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let pk = parameters.iter().position(|p| p.get("S").is_some());
        let key = pk.and_then(|at| Some((&parameters[at], parameters.get(at + 1)?)));
        let (pk, sk) = key.ok_or_else(|| strange(&"a statement without a key"))?;
        keys.push(json!({PK: pk, SK: sk}));
    }
    let Some(table) = table else { return Ok(Vec::new()) };
    let mut found = HashMap::new();
    for item in again.read(table, &keys).await? {
        found.insert(key_of(&item)?, item);
    }
    let mut written = Vec::with_capacity(keys.len());
    for (key, statement) in keys.iter().zip(list) {
        let deletes = statement["Statement"].as_str().is_some_and(|s| s.starts_with("DELETE"));
        match found.remove(&key_of(&attributes(key)?)?) {
            Some(item) => written.push(present(item)?),
            None if deletes => written.push(absent(&attributes(key)?)?),
            // A condition has failed, and nothing was written.
            None => {}
        }
    }
    Ok(written)
}

fn strange(what: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("a request of DynamoDB is not understood: {what}"))
}

fn attributes(item: &Value) -> Result<Attributes> {
    let map = item.as_object().ok_or_else(|| strange(&item))?;
    map.iter().map(|(name, value)| Ok((name.clone(), attribute(value)?))).collect()
}

fn attribute(value: &Value) -> Result<AttributeValue> {
    let (kind, value) =
        value.as_object().and_then(|o| o.iter().next()).ok_or_else(|| strange(&value))?;
    let text = || value.as_str().ok_or_else(|| strange(&value));
    Ok(match kind.as_str() {
        "S" => AttributeValue::S(text()?.to_owned()),
        "N" => AttributeValue::N(text()?.to_owned()),
        "B" => AttributeValue::B(Blob::new(base64::decode(text()?).map_err(|e| strange(&e))?)),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap_or_default()),
        "M" => AttributeValue::M(attributes(value)?),
        "L" => {
            let list = value.as_array().ok_or_else(|| strange(&value))?;
            AttributeValue::L(list.iter().map(attribute).collect::<Result<_>>()?)
        }
        other => return Err(strange(&other)),
    })
}

fn key_of(item: &Attributes) -> Result<(String, Vec<u8>)> {
    let pk = item.get(PK).and_then(|pk| pk.as_s().ok());
    let sk = item.get(SK).and_then(|sk| sk.as_b().ok());
    let (pk, sk) = pk.zip(sk).ok_or_else(|| strange(&"an item without a key"))?;
    Ok((pk.clone(), sk.as_ref().to_vec()))
}

/// Whose an item is.
enum Place {
    Head(Name),
    Item(Name, Incarnation, ItemKey),
    Block(Name, Incarnation, BlockKey),
}

fn place(pk: &str, sk: &[u8]) -> Result<Place> {
    let Some((job, rest)) = pk.split_once('/') else { return Ok(Place::Head(Name::new(pk)?)) };
    let parts: Vec<&str> = rest.split('/').collect();
    let number = |text: &str| text.parse::<u64>().map_err(|e| strange(&e));
    let job = Name::new(job)?;
    match *parts {
        [incarnation, folder @ ("log" | "manifest"), slot] => {
            let segment = folder == "log";
            let kind = if segment { BlockKind::Segment } else { BlockKind::Manifest };
            let part = <[u8; 4]>::try_from(sk).map_or(0, u32::from_be_bytes);
            let key = BlockKey { kind, slot: SlotId(number(slot)?), part };
            Ok(Place::Block(job, Incarnation(number(incarnation)?), key))
        }
        [incarnation, "s", operator, state] => {
            let (state, group) = state.split_once('#').ok_or_else(|| strange(&pk))?;
            let key = ItemKey {
                operator: Name::new(operator)?,
                state: Name::new(state)?,
                key_group: KeyGroup(group.parse().map_err(|e| strange(&e))?),
                sort_key: sk.to_vec().into(),
            };
            Ok(Place::Item(job, Incarnation(number(incarnation)?), key))
        }
        _ => Err(strange(&pk)),
    }
}

fn present(item: Attributes) -> Result<Written> {
    let (pk, sk) = key_of(&item)?;
    Ok(match place(&pk, &sk)? {
        Place::Head(job) => {
            let head = head_item::read(&job, &item)?;
            Written::Head(job, Some(Box::new(head)))
        }
        Place::Item(job, incarnation, key) => {
            Written::Item(job, incarnation, key, Some(item::read_row(item)?))
        }
        Place::Block(job, incarnation, key) => {
            Written::Block(job, incarnation, key, Some(item::read_block(key.kind, item)?))
        }
    })
}

fn absent(key: &Attributes) -> Result<Written> {
    let (pk, sk) = key_of(key)?;
    Ok(match place(&pk, &sk)? {
        Place::Head(job) => Written::Head(job, None),
        Place::Item(job, incarnation, key) => Written::Item(job, incarnation, key, None),
        Place::Block(job, incarnation, key) => Written::Block(job, incarnation, key, None),
    })
}
