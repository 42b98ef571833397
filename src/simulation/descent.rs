//! The lines of descent of a job's attempts: who went on from which checkpoint.
//!
//! A roll-back leaves a branch behind whose output was seen and is given once more; a fresh start
//! begins a tree of its own. Owns which commits belong to one line, from its first record to its end.

use std::collections::BTreeMap;

use super::ends::CommitOf;
use super::oracle::Step;
use super::scenario::Positions;
use crate::checkpoint::Head;
use crate::ids::{Attempt, CheckpointId};

/// Attempts that go on from each other without a roll-back.
#[derive(Debug)]
struct Branch {
    /// The branch that it left, and after which checkpoint; none for a beginning.
    parent: Option<(usize, CheckpointId)>,
    last: (CheckpointId, Positions),
}

/// All branches, and who completed what.
#[derive(Debug, Default)]
pub(super) struct Descent {
    branches: Vec<Branch>,
    /// Of each attempt: its branch, and the last checkpoint that it completed itself.
    attempts: BTreeMap<Attempt, (usize, CheckpointId)>,
    /// How many checkpoints were completed.
    pub(super) completed: u64,
    pub(super) roll_backs: u64,
}

impl Descent {
    /// The head has made `step`; the sources of its checkpoint stand at `positions`.
    pub(super) fn step(&mut self, step: Step, head: &Head, positions: Positions) {
        match step {
            Step::Created | Step::Fresh => {
                let last = (CheckpointId::NONE, Positions::default());
                self.branches.push(Branch { parent: None, last });
            }
            Step::RolledBack => {
                self.roll_backs += 1;
                let parent = Some((self.branches.len() - 1, head.checkpoint));
                self.branches.push(Branch { parent, last: (head.checkpoint, positions) });
            }
            Step::Completed => {
                self.completed += 1;
                if let Some(branch) = self.branches.last_mut() {
                    branch.last = (head.checkpoint, positions);
                }
            }
            Step::Resumed | Step::Same => {}
        }
        let completed = if step == Step::Completed { head.checkpoint } else { CheckpointId::NONE };
        self.attempts
            .entry(head.attempt)
            .and_modify(|(_, last)| *last = completed.max(*last))
            .or_insert((self.branches.len().max(1) - 1, completed));
    }

    /// Whether a checkpoint that `attempt` completed covers its output for `checkpoint`.
    pub(super) fn is_completed(&self, attempt: Attempt, checkpoint: CheckpointId) -> bool {
        self.attempts.get(&attempt).is_some_and(|(_, last)| checkpoint <= *last)
    }

    /// The numbers of those of `commits` that are in the line which ends with the newest branch, the
    /// oldest branch's first, and where the sources stand at its end.
    pub(super) fn line(&self, commits: &[CommitOf]) -> (Vec<usize>, Positions) {
        let mut line = Vec::new();
        let mut at = self.branches.len().checked_sub(1).map(|last| (last, CheckpointId::MAX));
        while let Some((branch, upto)) = at {
            let is_of = |(attempt, checkpoint): &CommitOf| {
                *checkpoint <= upto && self.attempts.get(attempt).is_some_and(|(b, _)| *b == branch)
            };
            let of_branch = (0..commits.len()).filter(|n| is_of(&commits[*n]));
            line.splice(0..0, of_branch);
            at = self.branches[branch].parent.map(|(parent, cut)| (parent, cut.min(upto)));
        }
        let end = self.branches.last().map(|branch| branch.last.1.clone());
        (line, end.unwrap_or_default())
    }
}
