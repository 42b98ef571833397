//! What is done to the job, and when: drawn, and the same for the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A kind of disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL to the owner: the other candidate takes over.
    Kill,
    /// SIGKILL to both candidates.
    KillBoth,
    /// SIGSTOP to the owner until another has taken over, and SIGCONT: a zombie.
    Freeze,
    /// The owner's files cannot grow.
    FillDisk,
    /// DynamoDB is away.
    Outage,
    /// DynamoDB is away, and the owner is killed meanwhile.
    KillInOutage,
}

impl Kind {
    /// All that this platform allows: another process's limits can be set on Linux only.
    pub(super) const ALL: &'static [Self] = if cfg!(target_os = "linux") {
        &[
            Self::Kill,
            Self::KillBoth,
            Self::Freeze,
            Self::FillDisk,
            Self::Outage,
            Self::KillInOutage,
        ]
    } else {
        &[Self::Kill, Self::KillBoth, Self::Freeze, Self::Outage, Self::KillInOutage]
    };

    /// What it is called in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL to the owner",
            Self::KillBoth => "SIGKILL to both",
            Self::Freeze => "SIGSTOP to the owner",
            Self::FillDisk => "owner's disk full",
            Self::Outage => "DynamoDB away",
            Self::KillInOutage => "away, then SIGKILL",
        }
    }
}

/// One disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disturbance {
    /// Which.
    pub(super) kind: Kind,
    /// How long the job has gone on well before.
    pub(super) after: Duration,
    /// How long it lasts beyond the moment that it was seen to hit.
    pub(super) lasts: Duration,
    /// How far a file may still grow on a full disk, in bytes: a write may get half way.
    pub(super) room: u64,
}

/// Disturbances without end. Each kind comes once before any comes again.
#[derive(Debug)]
pub(super) struct Plan {
    random: StdRng,
    bag: Vec<Kind>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), bag: Vec::new() }
    }
}

impl Iterator for Plan {
    type Item = Disturbance;

    fn next(&mut self) -> Option<Disturbance> {
        if self.bag.is_empty() {
            self.bag = Kind::ALL.to_vec();
            self.bag.shuffle(&mut self.random);
        }
        let kind = self.bag.pop()?;
        let mut up_to = |ms: u64| Duration::from_millis(self.random.random_range(0..ms));
        let (after, lasts) = (up_to(400), up_to(1200));
        Some(Disturbance { kind, after, lasts, room: self.random.random_range(0..1024) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Vec<Disturbance> {
        Plan::new(seed).take(5 * Kind::ALL.len()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_disturbances_and_another_one_others() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn each_kind_comes_once_before_any_comes_again() {
        for bag in plan(3).chunks(Kind::ALL.len()) {
            let mut kinds: Vec<_> = bag.iter().map(|disturbance| disturbance.kind).collect();
            kinds.sort();
            assert_eq!(kinds, Kind::ALL);
        }
    }
}
