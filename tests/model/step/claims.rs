//! Starts, claims and what is restored after them.

use millpond::checkpoint::rules::{self, Mine, Start, StartFacts, StartMode};
use millpond::checkpoint::{Head, HeadCondition, Retained};
use millpond::ids::CheckpointId;

use super::Step;
use crate::attempt::{Attempt, position_of};
use crate::cell::Cell;
use crate::mistakes::Mistake;
use crate::names::{TIMEOUT, identity};
use crate::oracle::Broken;
use crate::state::{Phase, Process};
use crate::table::Body;

impl Step<'_> {
    pub(super) fn start(&mut self, parallelism: u8, back_to: Option<u64>) -> Option<()> {
        self.state.used.claims += 1;
        let id = self.state.used.claims;
        let read = self.state.table.head.clone();
        let roll_back = back_to.map(CheckpointId);
        let facts = StartFacts {
            head: read.as_deref(),
            identity: identity(),
            mode: StartMode::Auto,
            exclusive: true,
            sent: &[],
            restart: false,
            roll_back,
        };
        let owner = id.to_string();
        let (condition, head) = match (rules::start(&facts), &read) {
            (Start::Create, _) => {
                (HeadCondition::Absent, rules::first_head(identity(), owner, TIMEOUT))
            }
            (Start::Resume { wait: false }, Some(read)) => {
                let mut next = rules::resumed(read, roll_back, identity(), owner, TIMEOUT)?;
                // Of which program a checkpoint is, is not in the model.
                next.identity.clone_from(identity());
                (rules::unchanged(read), self.spoilt(read, next))
            }
            (other, _) => panic!("a start of the model ends in {other:?}"),
        };
        let mine = Mine { attempt: head.attempt, owner: head.owner.clone() };
        if back_to.is_some() {
            self.state.used.roll_backs += 1;
        }
        let body = Body::Claim { condition, head, back: back_to.is_some() };
        self.send(id, vec![body]);
        let phase = Phase::Claiming { mine, read };
        self.state.processes.push(Cell::new(Process { id, parallelism, phase }));
        Some(())
    }

    /// What some mistakes make of a roll-back's claim.
    fn spoilt(&self, read: &Head, mut next: Head) -> Head {
        if self.world.makes(Mistake::RollBackKeepsHead) {
            next.checkpoint = read.checkpoint;
        }
        if self.world.makes(Mistake::RetainedInManifest)
            && let Some(last) = next.retained.last().copied()
        {
            let list = self.state.table.lists.iter().find(|(version, _)| *version == last.version);
            next.retained = list.map_or(next.retained, |(_, retained)| retained.clone());
        }
        next
    }

    pub(super) fn read_claim(&mut self, index: usize) -> Option<()> {
        let process = self.state.processes[index].clone();
        let Phase::Claiming { mine, .. } = &process.phase else { return None };
        let shown = self.state.table.head.clone();
        let by_number = shown.as_ref().is_some_and(|head| head.attempt == mine.attempt);
        let by_another = shown.as_ref().is_some_and(|head| head.attempt > mine.attempt);
        let won = rules::claimed(mine, shown.as_deref())
            || self.world.makes(Mistake::ClaimByNumber) && by_number
            || self.world.makes(Mistake::ClaimNotCompared) && by_another;
        match shown {
            Some(head) if won => {
                self.orphan(process.id, |_| true);
                self.claimed(index, head)
            }
            // All is decided anew: by another process, which is the same.
            _ => {
                self.ends(index);
                Some(())
            }
        }
    }

    pub(super) fn claimed(&mut self, index: usize, head: Cell<Head>) -> Option<()> {
        self.state.processes[index].update(|process| {
            if let Phase::Claiming { mine, read } = &process.phase {
                let newest = read.as_ref().and_then(|read| read.retained.last().copied());
                process.phase = Phase::Claimed { mine: mine.clone(), head, newest };
            }
        });
        if self.world.bounds.slow_restore { Some(()) } else { self.restore(index) }
    }

    pub(super) fn restore(&mut self, index: usize) -> Option<()> {
        let process = self.state.processes[index].clone();
        let Phase::Claimed { mine, head, newest } = &process.phase else { return None };
        let bit = 1 << mine.attempt.0;
        if self.state.begun & bit != 0 {
            self.breaks(Broken::TwoOwners);
        }
        self.state.begun |= bit;
        self.begin(index, mine, head, newest.as_ref(), process.parallelism);
        Some(())
    }

    fn begin(
        &mut self,
        index: usize,
        mine: &Mine,
        head: &Head,
        newest: Option<&Retained>,
        parallelism: u8,
    ) {
        let world = self.world;
        let table = self.state.table.clone();
        let restored = Attempt::restored(world, &table, mine.clone(), head, newest, parallelism);
        let Some((attempt, out)) = restored else {
            if self.is_owner(mine) {
                self.breaks(Broken::NotThere);
            }
            self.ends(index);
            return;
        };
        let manifest = head.retained.last().and_then(|r| table.manifest(world.rules, r));
        if self.is_owner(mine) && attempt.position != position_of(manifest.as_deref()) {
            self.breaks(Broken::OtherPosition);
        }
        let running = Phase::Running(Cell::new(attempt));
        self.state.processes[index].update(|process| process.phase = running);
        self.carry_out(index, out);
    }

    /// The mistake: the same attempt once more, from what the head shows.
    pub(super) fn restart(&mut self, index: usize) -> Option<()> {
        let process = self.state.processes[index].clone();
        let Phase::Running(attempt) = &process.phase else { return None };
        let head = self.state.table.head.clone()?;
        if !rules::is_mine(&attempt.mine, &head) {
            return None;
        }
        self.orphan(process.id, |_| true);
        self.state.used.claims += 1;
        self.begin(index, &attempt.mine, &head, None, process.parallelism);
        Some(())
    }
}
