//! The in-memory twin of the store of heads.
//!
//! Owns the content; holding, losing and delaying of calls is `state::memory`'s [`Script`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::head::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore};
use crate::error::Result;
use crate::ids::Name;
use crate::state::{Call, Passed, Script};

type Heads = BTreeMap<Name, Head>;

/// Heads in memory. Clones share content and script.
#[derive(Clone, Debug, Default)]
pub struct MemoryHeads {
    heads: Arc<Mutex<Heads>>,
    script: Script,
}

impl MemoryHeads {
    /// No heads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What steers its calls.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The head of `job`, without any call.
    #[must_use]
    pub fn head(&self, job: &Name) -> Option<Head> {
        lock(&self.heads).get(job).cloned()
    }
}

fn lock(heads: &Mutex<Heads>) -> MutexGuard<'_, Heads> {
    heads.lock().unwrap_or_else(PoisonError::into_inner)
}

fn apply(
    heads: &mut Heads,
    job: &Name,
    condition: HeadCondition,
    change: &HeadChange,
) -> HeadAnswer {
    let there = heads.get(job);
    let held = condition.holds(there).then(|| change.clone().applied(there)).flatten();
    let Some(changed) = held else { return HeadAnswer::Refused };
    heads.insert(job.clone(), changed.clone());
    HeadAnswer::Applied(Box::new(changed))
}

impl HeadStore for MemoryHeads {
    fn read(&self, job: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
        let (heads, job) = (Arc::clone(&self.heads), job.clone());
        async move {
            let read = move || Ok(lock(&heads).get(&job).cloned());
            match self.script.pass(Call::ReadHead, read).await? {
                Passed::Answered(head) => Ok(head),
                // Reads are retried until the future is dropped.
                Passed::Unanswered => futures::future::pending().await,
            }
        }
        .boxed()
    }

    fn write(
        &self,
        job: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>> {
        let (heads, job) = (Arc::clone(&self.heads), job.clone());
        async move {
            let write = move || Ok(apply(&mut lock(&heads), &job, condition, &change));
            match self.script.pass(Call::WriteHead, write).await? {
                Passed::Answered(answer) => Ok(answer),
                Passed::Unanswered => Ok(HeadAnswer::Unknown),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::contract::sample_head;
    use crate::ids::{Attempt, CheckpointId};
    use crate::state::Fault;

    #[tokio::test]
    async fn a_lost_answer_is_unknown_and_a_late_write_comes_when_delivered() {
        let heads = MemoryHeads::new();
        let job = Name::new("job").unwrap();
        heads.script().next(Call::WriteHead, Fault::LoseAnswer);
        let head = sample_head(1, 0);
        let put = HeadChange::Put(Box::new(head.clone()));
        let answer = heads.write(&job, HeadCondition::Absent, put).await.unwrap();
        assert_eq!(answer, HeadAnswer::Unknown);
        assert_eq!(heads.head(&job), Some(head));
        heads.script().next(Call::WriteHead, Fault::Late);
        let advance = HeadChange::Advance {
            checkpoint: CheckpointId(1),
            retained: Vec::new(),
            identity: None,
        };
        let condition = HeadCondition::At(Attempt(1), CheckpointId(0));
        assert_eq!(heads.write(&job, condition, advance).await.unwrap(), HeadAnswer::Unknown);
        assert_eq!(heads.head(&job).unwrap().checkpoint, CheckpointId(0));
        assert_eq!(heads.script().deliver(), 1);
        assert_eq!(heads.head(&job).unwrap().checkpoint, CheckpointId(1));
    }
}
