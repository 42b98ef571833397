//! Items and blocks of one incarnation of a job, in DynamoDB.
//!
//! Owns the scope of its calls, and when tombstones and expired values may be deleted. How requests are batched, answered and
//! retried is `read`'s, `write`'s and `call`'s.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::call::Caller;
use super::item::{self, Scope};
use super::meter::Purpose;
use super::native;
use super::pace::{Lane, Rank};
use super::read::{self, Get};
use super::scan;
use super::statement::Content;
use super::write::{Put, Write, put_item, write_all};
use crate::error::Result;
use crate::ids::Version;
use crate::state::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemRange, ItemWrite, Scanned, Store,
    WriteOutcome, segment,
};

/// The store of one incarnation.
#[derive(Debug)]
pub(super) struct Backend {
    caller: Caller,
    scope: Scope,
    tombstone_retention: Duration,
}

impl Backend {
    pub(super) fn new(caller: Caller, scope: Scope, tombstone_retention: Duration) -> Self {
        Self { caller, scope, tombstone_retention }
    }

    /// When `item` may be deleted, in seconds since 1970; `None`: never.
    fn ttl(&self, item: &Item) -> Option<u64> {
        let over_ms = match item.value {
            Some(_) => item.expires_ms.filter(|_| !item.event_time)?,
            None => self.caller.clock().wall_ms(),
        };
        Some((over_ms / 1000).saturating_add(self.tombstone_retention.as_secs()))
    }

    fn prepare(&self, writes: Vec<ItemWrite>) -> Result<Vec<Write>> {
        let prepare = |(index, write): (usize, ItemWrite)| {
            let pk = self.scope.item_pk(&write.key);
            let value_bytes = write.item.value.as_ref().map_or(0, Bytes::len);
            item::check_limits(&pk, &write.key, value_bytes)?;
            Ok(Write {
                index,
                pk,
                sort_key: write.key.sort_key,
                content: Content {
                    native: native::of_item(&write.item)?,
                    version: write.item.version,
                    ttl: self.ttl(&write.item),
                    expires_ms: write.item.expires_ms.filter(|_| write.item.value.is_some()),
                    value: write.item.value,
                },
                route: write.presence.into(),
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

/// Whose a block is, for the meter: `operator/state`, or the operator whose states share it. A manifest
/// is the job's.
fn owner_of(kind: BlockKind, bytes: &[u8]) -> Option<String> {
    let (operator, state) = match kind {
        BlockKind::Segment => segment::owner(bytes)?,
        BlockKind::Manifest => return None,
    };
    Some(state.map_or_else(|| operator.to_string(), |state| format!("{operator}/{state}")))
}

impl Store for Backend {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        async move {
            let place = |key: ItemKey| (self.scope.item_pk(&key), key.sort_key);
            read::read_all(&self.caller, keys.into_iter().map(place).collect()).await
        }
        .boxed()
    }

    fn scan_items(&self, range: ItemRange) -> BoxFuture<'_, Result<Vec<Scanned>>> {
        async move {
            let ItemRange { operator, state, key_group, .. } = &range;
            let pk = self.scope.state_pk(operator, state, key_group.0);
            scan::scan(&self.caller, &pk, &range).await
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
            let owner = owner_of(key.kind, &bytes);
            let put = Put {
                purpose: purpose_of(key.kind),
                rank: Rank::Checkpoint,
                pk: &self.scope.slot_pk(key.kind, key.slot.0),
                owner: owner.as_deref(),
                version,
            };
            put_item(&self.caller, put, block).await
        }
        .boxed()
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        async move {
            let get = Get {
                purpose: purpose_of(key.kind),
                rank: Rank::Checkpoint,
                pk: &self.scope.slot_pk(key.kind, key.slot.0),
            };
            let found = read::get(&self.caller, get, self.scope.block_key(key)).await?;
            let (item, units) = found;
            let block = item.map(|item| item::read_block(key.kind, item)).transpose()?;
            let owner = block.as_ref().and_then(|block| owner_of(key.kind, &block.bytes));
            if let Some(owner) = &owner {
                let all = std::iter::once((owner.as_str(), 1.0));
                self.caller.meter().divide(get.purpose, Lane::Read, units, all);
            }
            Ok(block)
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.caller.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::dynamodb::database::Database;
    use crate::dynamodb::embedded::{Embedded, Execution};
    use crate::dynamodb::{Meter, client};
    use crate::ids::{Incarnation, Name};

    #[tokio::test(start_paused = true)]
    async fn tombstones_and_expired_values_may_be_deleted_after_the_retention() {
        let database = Database::in_memory().unwrap();
        let (embedded, _closed) = Embedded::start(database, &Execution::Inline);
        let client = client::embedded(embedded.http_client(), None);
        let clock = Clock::starting_at(1_000_500);
        let (table, place) = ("table".to_owned(), "here".to_owned());
        let caller = Caller::new(client, table, place, Meter::default(), clock, 1);
        let scope = Scope::new(&Name::new("job").unwrap(), Incarnation(1));
        let backend = Backend::new(caller, scope, Duration::from_secs(60));
        let version = Version::from_number(1);
        let tombstone = Item::new(version, None);
        assert_eq!(backend.ttl(&tombstone), Some(1060));
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(backend.ttl(&tombstone), Some(1065));
        let value = Item::new(version, Some(Bytes::new()));
        assert_eq!(backend.ttl(&value), None);
        let of_records = Item { expires_ms: Some(1), event_time: true, ..value.clone() };
        assert_eq!(backend.ttl(&of_records), None, "long ago, and not by the table's clock");
        let expires = |expires_ms| Item { expires_ms: Some(expires_ms), ..value.clone() };
        assert_eq!(backend.ttl(&expires(2_500)), Some(62));
        assert_eq!(backend.ttl(&expires(u64::MAX)), Some(u64::MAX / 1000 + 60));
    }
}
