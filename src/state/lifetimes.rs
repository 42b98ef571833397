//! By which time the values of a state expired, and from which checkpoint on.
//!
//! Owns what manifests record of that, and when an expiry that was stored has ceased to count. What becomes of the
//! value then is `expiry`'s.
//!
//! Log and items hold the expiry that a value was written with, and are read long after: by then the program may have
//! turned the time to live off, or judge it by another time. What had expired at that moment is gone, and all else
//! lives on, whenever it is read. So the moment is recorded, and with it, as for encodings (`formats`), the first
//! checkpoint of the new rule: a change's checkpoint tells which rules came after it. A roll-back finds what was
//! recorded then, and an attempt that completed no checkpoint leaves no trace.

use serde::{Deserialize, Serialize};

use super::ttl::Ttl;
use crate::ids::{CheckpointId, Name};

/// Most that are kept of one state. The oldest is forgotten then: what was written before it is judged by the next.
const MAX_LIFETIMES: usize = 100;

/// By which time values expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExpiresBy {
    /// They do not.
    Nothing,
    /// The clock's.
    Clock,
    /// That of records.
    Records,
}

impl ExpiresBy {
    /// What a time to live says.
    pub(super) fn of(ttl: Option<Ttl>) -> Self {
        match ttl {
            None => Self::Nothing,
            Some(ttl) if ttl.is_by_event_time() => Self::Records,
            Some(_) => Self::Clock,
        }
    }
}

/// How long values of a state live, as far as others must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lifetime {
    /// The first checkpoint of which it holds.
    pub from: CheckpointId,
    /// When the attempt began that brought it, in milliseconds since 1970: the one before ended then.
    pub began_ms: u64,
    /// By which time they expire.
    pub by: ExpiresBy,
}

/// What a manifest records of one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateLifetimes {
    /// Whose state it is.
    pub operator: Name,
    /// Its name.
    pub state: Name,
    /// What held one after the other, the newest last. Of what came before the first nothing is known.
    pub lifetimes: Vec<Lifetime>,
}

impl StateLifetimes {
    /// Those of a state whose values expire by `by` in an attempt that begins at `now_ms` and goes on from
    /// checkpoint `restored`, of which a manifest recorded these states.
    pub(super) fn settle(
        (operator, state): (&Name, &Name),
        by: ExpiresBy,
        recorded: &[Self],
        (restored, now_ms): (CheckpointId, u64),
    ) -> Self {
        let of_state = |r: &&Self| (&r.operator, &r.state) == (operator, state);
        let recorded = recorded.iter().find(of_state);
        let mut lifetimes = recorded.map_or_else(Vec::new, |r| r.lifetimes.clone());
        if lifetimes.last().is_none_or(|last| last.by != by) {
            lifetimes.push(Lifetime { from: restored.next(), began_ms: now_ms, by });
        }
        if lifetimes.len() > MAX_LIFETIMES {
            lifetimes.remove(0);
        }
        Self { operator: operator.clone(), state: state.clone(), lifetimes }
    }
}

/// When an expiry by `by` ceased to count that was stored with a change of `checkpoint`, in milliseconds since 1970;
/// `None`: it counts.
pub(super) fn ended(
    lifetimes: &[Lifetime],
    by: ExpiresBy,
    checkpoint: CheckpointId,
) -> Option<u64> {
    let ends = |later: &&Lifetime| checkpoint < later.from && later.by != by;
    lifetimes.iter().find(ends).map(|later| later.began_ms)
}

#[cfg(test)]
mod tests {
    use super::ExpiresBy::{Clock, Nothing, Records};
    use super::*;

    fn settle(by: ExpiresBy, recorded: Option<&StateLifetimes>, at: (u64, u64)) -> StateLifetimes {
        let (operator, state) = (Name::new("counts").unwrap(), Name::new("total").unwrap());
        let recorded: Vec<_> = recorded.into_iter().cloned().collect();
        StateLifetimes::settle((&operator, &state), by, &recorded, (CheckpointId(at.0), at.1))
    }

    #[test]
    fn an_expiry_counts_until_the_first_lifetime_after_it_that_is_by_another_time() {
        let clock = settle(Clock, None, (0, 100));
        assert_eq!(settle(Clock, Some(&clock), (4, 150)), clock, "nothing new");
        let off = settle(Nothing, Some(&clock), (9, 200));
        let again = settle(Clock, Some(&off), (12, 300));
        let records = settle(Records, Some(&again), (20, 400));
        let ended = |by, checkpoint| ended(&records.lifetimes, by, CheckpointId(checkpoint));
        assert_eq!((ended(Clock, 9), ended(Clock, 13)), (Some(200), Some(400)));
        assert_eq!(ended(Records, 21), None);
        // A roll-back to a checkpoint before that finds what was recorded then, and decides anew.
        let later = settle(Nothing, Some(&clock), (9, 1000));
        assert_eq!(later.lifetimes[1], Lifetime { began_ms: 1000, ..off.lifetimes[1] });
    }

    /// Manifests once recorded nothing of this.
    #[test]
    fn of_what_was_before_the_first_one_an_expiry_tells_itself() {
        let same = settle(Clock, None, (9, 200));
        assert_eq!(ended(&same.lifetimes, Clock, CheckpointId(5)), None);
        let off = settle(Nothing, None, (9, 200));
        assert_eq!(ended(&off.lifetimes, Clock, CheckpointId(5)), Some(200));
    }

    #[test]
    fn they_are_bounded() {
        let first = settle(Clock, None, (0, 0));
        let all = (1..500).fold(first, |before, n| {
            settle(if n % 2 == 0 { Clock } else { Nothing }, Some(&before), (n, n))
        });
        assert_eq!(all.lifetimes.len(), MAX_LIFETIMES);
        assert_eq!(ended(&all.lifetimes, Clock, CheckpointId(499)), Some(499));
    }
}
