//! Items and blocks of one incarnation of a job, in DynamoDB.
//!
//! Owns the scope of its calls, and when tombstones and expired values may be deleted. How requests are batched, answered and
//! retried is `read`'s, `write`'s and `call`'s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::call::Caller;
use super::item::{self, Scope};
use super::meter::Purpose;
use super::native;
use super::pace::{Lane, Rank};
use super::parts::{self, PART_BYTES, PartSizes, Row};
use super::put::{Put, put_item};
use super::read::{self, Get, Place, Wanted};
use super::scan;
use super::write::{Route, Write, write_all};
use crate::error::Result;
use crate::ids::{Name, Version};
use crate::state::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemRange, ItemWrite, ScanPage, Store,
    WriteOutcome, segment,
};
use crate::teeth::{Tooth, bites};

/// The store of one incarnation.
#[derive(Debug)]
pub(super) struct Backend {
    caller: Caller,
    scope: Scope,
    tombstone_retention: Duration,
    /// The greatest wall time so far, in seconds: where the system's clock is set back, tombstones keep their time.
    greatest: AtomicU64,
    /// Of values and keys that have more bytes.
    sizes: PartSizes,
}

impl Backend {
    pub(super) fn new(
        caller: Caller,
        scope: Scope,
        tombstone_retention: Duration,
        sizes: PartSizes,
    ) -> Self {
        Self { caller, scope, tombstone_retention, greatest: AtomicU64::default(), sizes }
    }

    fn now(&self) -> u64 {
        let now = self.caller.clock().wall_ms() / 1000;
        self.greatest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// When `item` may be deleted, in seconds since 1970; `None`: never.
    fn ttl(&self, item: &Item) -> Option<u64> {
        let over = match item.value {
            Some(_) => item.expires_ms.filter(|_| !item.event_time)? / 1000,
            None if bites(Tooth::TombstoneStays) => return None,
            None => self.now(),
        };
        Some(over.saturating_add(self.tombstone_retention.as_secs()))
    }

    /// What distinguishes an entry.
    fn key(&self, mut key: ItemKey) -> ItemKey {
        if bites(Tooth::RestOfKeyIgnored) && parts::is_hidden(&key.sort_key) {
            key.sort_key.truncate(self.sizes.key);
        }
        key
    }

    fn place(&self, key: &ItemKey) -> Place {
        Place { pk: self.scope.item_pk(key), sk: parts::first_place(&key.sort_key) }
    }

    async fn get_block_at(&self, key: BlockKey, rank: Rank) -> Result<Option<Block>> {
        let purpose = purpose_of(key.kind);
        let get = Get { purpose, rank, pk: &self.scope.slot_pk(key.kind, key.slot.0) };
        let (item, units) = read::get(&self.caller, get, self.scope.block_key(key)).await?;
        let block = item.map(|item| item::read_block(key.kind, item)).transpose()?;
        let owners = block.as_ref().map_or(Vec::new(), |b| owners_of(key.kind, &b.bytes));
        let owners = owners.iter().map(|(owner, share)| (owner.as_str(), *share));
        self.caller.meter().divide(purpose, Lane::Read, units, owners);
        Ok(block)
    }

    fn prepare(&self, writes: Vec<ItemWrite>) -> Result<Vec<Write>> {
        let prepare = |(index, write): (usize, ItemWrite)| {
            let ItemWrite { key, mut item, presence } = write;
            let key = self.key(key);
            let Place { pk, sk: sort_key } = self.place(&key);
            let (bytes, value_bytes) =
                (key.sort_key.len(), item.value.as_ref().map_or(0, Bytes::len));
            native::check(&item)?;
            let ttl = self.ttl(&item);
            let (own_key, rest) = match parts::is_hidden(&key.sort_key) {
                true => {
                    let size = self.sizes.key;
                    let (beginning, rest) = parts::split(key.sort_key, size, size);
                    (Some(beginning), rest)
                }
                false => (None, Vec::new()),
            };
            // It stands beside the first part.
            let room = PART_BYTES.saturating_sub(own_key.as_ref().map_or(0, Bytes::len));
            let mut values = Vec::new();
            if let Some(value) = item.value.take() {
                // An attribute of its own type is never large.
                let most = if item.native { usize::MAX } else { self.sizes.value };
                let (first, more) = parts::split(value, room.min(most), most);
                (item.value, values) = (Some(first), more);
            } else {
                item.expires_ms = None;
            }
            let number = 1 + rest.len() + values.len();
            item::check_parts(&pk, number, bytes, value_bytes)?;
            let key_bytes = (!rest.is_empty()).then_some(bytes as u64);
            let parts = number as u32;
            let by_put = parts > 1 || own_key.is_some();
            let row = Row { ttl, parts, key: own_key, key_bytes, ..Row::from(item) };
            let rest = rest.into_iter().map(|key| (Some(key), None));
            let contents = rest.chain(values.into_iter().map(|value| (None, Some(value))));
            let another = |(part, (key, value))| row.another(part, key, value);
            let others = (1..).zip(contents).map(another).collect();
            Ok(Write {
                index,
                pk,
                sort_key,
                row,
                others,
                parts_ttl: self.now().saturating_add(self.tombstone_retention.as_secs()),
                parts_there: 1,
                route: if by_put { Route::Put } else { presence.into() },
            })
        };
        writes.into_iter().enumerate().map(prepare).collect()
    }
}

fn purpose_of(kind: BlockKind) -> Purpose {
    match kind {
        BlockKind::Segment => Purpose::Log,
        BlockKind::Manifest => Purpose::Protocol,
    }
}

/// Whose a block is, for the meter: `operator/state` and its share, or the operator where those are not known.
/// A manifest is the job's.
fn owners_of(kind: BlockKind, bytes: &[u8]) -> Vec<(String, f64)> {
    let (operator, states) = match kind {
        BlockKind::Segment => segment::shares(bytes).unzip(),
        BlockKind::Manifest => (None, None),
    };
    let Some(operator) = operator else { return Vec::new() };
    let owner = |(state, share): (Name, u32)| (format!("{operator}/{state}"), f64::from(share));
    match states.unwrap_or_default() {
        states if states.is_empty() => vec![(operator.to_string(), 1.0)],
        states => states.into_iter().map(owner).collect(),
    }
}

impl Store for Backend {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        async move {
            let wanted = |key: ItemKey| Wanted { place: self.place(&key), key: key.sort_key };
            let wanted = keys.into_iter().map(|key| self.key(key)).map(wanted).collect();
            read::read_all(&self.caller, wanted, self.now()).await
        }
        .boxed()
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        async move {
            let ItemRange { operator, state, key_group, .. } = &range;
            let pk = self.scope.state_pk(operator, state, key_group.0);
            scan::scan(&self.caller, &pk, (&range, max_bytes), self.now()).await
        }
        .boxed()
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        async move {
            let mut outcomes = vec![WriteOutcome::Done; writes.len()];
            for (index, outcome) in write_all(&self.caller, self.prepare(writes)?).await? {
                outcomes[index] = outcome;
            }
            Ok(outcomes)
        }
        .boxed()
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        async move {
            item::check_block(key, &bytes)?;
            let block = self.scope.block(key, version, &bytes);
            let owners = owners_of(key.kind, &bytes);
            let put = Put {
                purpose: purpose_of(key.kind),
                rank: Rank::Checkpoint,
                pk: &self.scope.slot_pk(key.kind, key.slot.0),
                owners: &owners,
                version,
                unconditional: key.kind.unconditional(),
            };
            put_item(&self.caller, put, block).await
        }
        .boxed()
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.get_block_at(key, Rank::Checkpoint).boxed()
    }

    fn get_block_unawaited(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.get_block_at(key, Rank::Materialise).boxed()
    }

    fn health(&self) -> Health {
        self.caller.health()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
    use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    };
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;
    use crate::clock::Clock;
    use crate::dynamodb::database::Database;
    use crate::dynamodb::embedded::{Embedded, Execution};
    use crate::dynamodb::pace::{Ask, Size};
    use crate::dynamodb::{Meter, client};
    use crate::ids::{Incarnation, SlotId};
    use crate::key_group::KeyGroup;
    use crate::state::Presence;

    /// On a table with so much provisioned capacity, if any, which does not exist.
    fn backend(clock: Clock, units: Option<(u64, u64)>) -> Backend {
        let database = Database::in_memory().unwrap();
        let (embedded, _closed) = Embedded::start(database, &Execution::Inline);
        backend_of(embedded.http_client(), clock, units)
    }

    fn backend_of(server: SharedHttpClient, clock: Clock, units: Option<(u64, u64)>) -> Backend {
        let client = client::embedded(server, None);
        let (table, place) = ("table".to_owned(), "here".to_owned());
        let caller = Caller::new(client, table, place, Meter::default(), clock, 1);
        caller.pace().set_capacity(units);
        let scope = Scope::new(&Name::new("job").unwrap(), Incarnation(1));
        Backend::new(caller, scope, Duration::from_secs(60), PartSizes::default())
    }

    /// Cleaning used to keep filters from being read, and its waits for trouble, so that no checkpoint timed out.
    #[tokio::test(start_paused = true)]
    async fn a_segment_that_is_read_back_for_cleaning_waits_behind_all_and_is_no_trouble() {
        let clock = Clock::starting_at(0);
        let backend = backend(clock, Some((20, 20)));
        let ask = |rank, units| {
            let size = Size::Units(units);
            Ask { lane: Lane::Read, purpose: Purpose::Read, rank, size }
        };
        backend.caller.pace().admit(ask(Rank::Waited, 100.0)).await;
        let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
        let mut unawaited = backend.get_block_unawaited(key);
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, &mut unawaited).await.is_err());
        assert_eq!(backend.health().struggling_for, Duration::ZERO);
        let mut filter = Box::pin(backend.caller.pace().admit(ask(Rank::Filter, 1.0)));
        tokio::select! {
            biased;
            _ = &mut filter => {}
            _ = &mut unawaited => panic!("it overtook a filter"),
        }
        drop(unawaited);

        let mut awaited = backend.get_block(key);
        assert!(tokio::time::timeout(second / 10, &mut awaited).await.is_err());
        assert!(backend.health().struggling_for > Duration::ZERO);
    }

    /// A server that throttles whatever it is asked.
    #[derive(Clone, Debug)]
    struct Full;

    impl HttpClient for Full {
        fn http_connector(
            &self,
            _: &HttpConnectorSettings,
            _: &RuntimeComponents,
        ) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    impl HttpConnector for Full {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let error = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
            let body = format!(r#"{{"__type":"{error}","message":"too much"}}"#);
            let status = StatusCode::try_from(400).unwrap();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
        }
    }

    /// The back-off of these used to be trouble, too.
    #[tokio::test(start_paused = true)]
    async fn only_what_is_waited_for_is_trouble_where_the_server_throttles() {
        let clock = Clock::starting_at(0);
        let second = Duration::from_secs(1);
        let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
        let full = || backend_of(SharedHttpClient::new(Full), clock, None);
        let refused = |backend: &Backend| !backend.caller.throttling().reasons.is_empty();

        let backend = full();
        let mut unawaited = backend.get_block_unawaited(key);
        assert!(tokio::time::timeout(second, &mut unawaited).await.is_err());
        assert!(refused(&backend));
        assert_eq!(backend.health().struggling_for, Duration::ZERO);

        let backend = full();
        let name = |name| Name::new(name).unwrap();
        let item = ItemKey {
            operator: name("operator"),
            state: name("state"),
            key_group: KeyGroup(3),
            sort_key: Bytes::from_static(b"key"),
        };
        let write = ItemWrite {
            key: item,
            item: Item::new(Version::from_number(1), Some(Bytes::new())),
            presence: Presence::Absent,
        };
        let mut materialised = backend.write_items(vec![write]);
        assert!(tokio::time::timeout(second, &mut materialised).await.is_err());
        assert!(refused(&backend));
        assert_eq!(backend.health().struggling_for, Duration::ZERO);

        let backend = full();
        let mut awaited = backend.get_block(key);
        assert!(tokio::time::timeout(second, &mut awaited).await.is_err());
        assert!(refused(&backend));
        assert!(backend.health().struggling_for > Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn tombstones_and_expired_values_may_be_deleted_after_the_retention() {
        let clock = Clock::starting_at(1_000_500);
        let backend = backend(clock, None);
        let version = Version::from_number(1);
        let tombstone = Item::new(version, None);
        assert_eq!(backend.ttl(&tombstone), Some(1060));
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(backend.ttl(&tombstone), Some(1065));
        let value = Item::new(version, Some(Bytes::new()));
        assert_eq!(backend.ttl(&value), None);
        let expires = |expires_ms| Item { expires_ms: Some(expires_ms), ..value.clone() };
        assert_eq!(backend.ttl(&expires(2_500)), Some(62));
        assert_eq!(backend.ttl(&expires(u64::MAX)), Some(u64::MAX / 1000 + 60));
        let of_records = Item { event_time: true, ..expires(1) };
        assert_eq!(backend.ttl(&of_records), None, "long ago, and not by the table's clock");
    }
}
