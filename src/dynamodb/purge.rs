//! Deletion of what a former incarnation left in the table.
//!
//! Owns the walk over partition keys. Which ones there may be is known to the caller: states and key
//! groups from the graph, slots from the head and its manifests. The items of a former incarnation are
//! out of every live one's sight, so nothing here is conditional, and it may be stopped and begun again.

use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, ReturnConsumedCapacity, WriteRequest,
};

use super::call::Caller;
use super::item::{Attributes, Scope};
use super::meter::{self, Purpose};
use super::retry::{Failure, Verdict};
use crate::error::{Error, Result};
use crate::ids::{Name, SlotId};
use crate::key_group::KeyGroup;
use crate::state::BlockKind;

/// DynamoDB's limit for a `BatchWriteItem`.
const DELETES: usize = 25;

/// All items under one partition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// A state's entries of one key group.
    State {
        /// The operator's id.
        operator: Name,
        /// The state's name.
        state: Name,
        /// The key group.
        key_group: KeyGroup,
    },
    /// A slot of segments or manifests.
    Slot(BlockKind, SlotId),
}

/// Deletes all of `partitions`, one after the other; gives the number of items deleted. One `Query`
/// for each partition and 1 MB, one `BatchWriteItem` for 25 items, a write unit for each KiB.
pub(super) async fn purge(
    caller: &Caller,
    scope: &Scope,
    partitions: impl IntoIterator<Item = Partition>,
) -> Result<u64> {
    let mut deleted = 0;
    for partition in partitions {
        let pk = match partition {
            Partition::State { operator, state, key_group } => {
                scope.state_pk(&operator, &state, key_group.0)
            }
            Partition::Slot(kind, slot) => scope.slot_pk(kind, slot.0),
        };
        deleted += purge_partition(caller, &pk).await?;
    }
    Ok(deleted)
}

async fn purge_partition(caller: &Caller, pk: &str) -> Result<u64> {
    let mut deleted = 0;
    loop {
        let (keys, more) = first_keys(caller, pk).await?;
        deleted += keys.len() as u64;
        for chunk in keys.chunks(DELETES) {
            delete(caller, chunk).await?;
        }
        if !more {
            return Ok(deleted);
        }
    }
}

/// The keys of the first page, and whether there are more.
async fn first_keys(caller: &Caller, pk: &str) -> Result<(Vec<Attributes>, bool)> {
    let send = || {
        caller
            .client()
            .query()
            .table_name(caller.table())
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .projection_expression("pk, sk")
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let answer = caller.call(Purpose::Protocol, send).await;
    let answer = answer.map_err(|refusal| caller.error("Query", &refusal))?;
    caller.meter().read(Purpose::Protocol, meter::units(answer.consumed_capacity()));
    let more = answer.last_evaluated_key.is_some_and(|key| !key.is_empty());
    Ok((answer.items.unwrap_or_default(), more))
}

async fn delete(caller: &Caller, keys: &[Attributes]) -> Result<()> {
    let request = |key: &Attributes| {
        let delete = DeleteRequest::builder().set_key(Some(key.clone())).build();
        let delete = delete
            .map_err(|e| Error::internal(format!("a deletion's request is not complete: {e}")))?;
        Ok(WriteRequest::builder().delete_request(delete).build())
    };
    let mut pending = keys.iter().map(request).collect::<Result<Vec<_>>>()?;
    let mut retries = caller.retries();
    while !pending.is_empty() {
        let send = caller
            .client()
            .batch_write_item()
            .request_items(caller.table(), pending.clone())
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send();
        match caller.once(Purpose::Protocol, send).await {
            Ok(answer) => {
                caller.meter().wrote(Purpose::Protocol, meter::units(answer.consumed_capacity()));
                let left = answer.unprocessed_items.into_iter().flatten();
                pending = left.flat_map(|(_, requests)| requests).collect();
                if !pending.is_empty() {
                    let failure = Failure::inside("ThrottlingError", "items left unprocessed");
                    retries.wait(&failure).await;
                }
            }
            Err(refusal) if matches!(refusal.verdict, Verdict::Retry { .. }) => {
                retries.wait(&refusal.failure).await;
            }
            Err(refusal) => return Err(caller.error("BatchWriteItem", &refusal)),
        }
    }
    Ok(())
}
