//! The model: which actions a state allows, for `stateright`.

use stateright::{Model, Property};

use super::attempt::{Stage, World};
use super::bounds::{Bounds, KEYS};
use super::mistakes::Mistake;
use super::state::{Action, Phase, Process, State};
use super::step;
use super::table::Conditions;

/// One world to explore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol(pub(crate) World);

impl Protocol {
    pub(crate) fn new(bounds: Bounds, mistake: Option<Mistake>) -> Self {
        Self(World { bounds, rules: Conditions(mistake, bounds.filter) })
    }

    fn starts(&self, state: &State, actions: &mut Vec<Action>) {
        let bounds = &self.0.bounds;
        if state.used.claims >= bounds.claims {
            return;
        }
        for parallelism in 1..=1 + u8::from(bounds.rescale) {
            actions.push(Action::Start { parallelism, back_to: None });
        }
        if let Some(head) = &state.table.head
            && state.used.roll_backs < bounds.roll_backs
        {
            let older = head.retained.split_last().map_or(&[][..], |(_, older)| older);
            actions.extend(older.iter().map(|retained| {
                let back_to = Some(retained.checkpoint.0);
                Action::Start { parallelism: 1, back_to }
            }));
        }
    }

    fn arrivals(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, message) in state.network.iter().enumerate() {
            if index > 0 && *message == state.network[index - 1] {
                continue;
            }
            actions.push(Action::Arrive(index as u8));
            if message.sender != 0 && state.used.copies < self.0.bounds.copies {
                actions.push(Action::Copy(index as u8));
            }
        }
    }

    fn of_process(&self, state: &State, index: u8, process: &Process, actions: &mut Vec<Action>) {
        let bounds = &self.0.bounds;
        let attempt = match &process.phase {
            Phase::Claiming { .. } => return actions.push(Action::ReadClaim(index)),
            Phase::Claimed { .. } => return actions.push(Action::Restore(index)),
            Phase::Running(attempt) => attempt,
        };
        if let Some((owner, op)) = attempt.next_record(bounds) {
            actions.push(Action::Record { process: index, stale: false });
            let reads = attempt.subtasks[owner].needs_read(op.key());
            if reads && self.0.makes(Mistake::StaleReads) {
                actions.push(Action::Record { process: index, stale: true });
            }
        }
        if attempt.may_trigger(bounds) {
            actions.push(Action::Trigger(index));
        }
        if attempt.may_abort(&self.0) && state.used.aborts < bounds.aborts {
            actions.push(Action::Abort(index));
        }
        if matches!(attempt.stage, Stage::Moving { .. }) {
            actions.push(Action::ReadMove(index));
        }
        for (subtask, content) in (0u8..).zip(&attempt.subtasks) {
            if content.cleaning.is_none() && state.used.cleanings < bounds.cleanings {
                actions.push(Action::Clean { process: index, subtask });
            }
            for key in 0..KEYS as u8 {
                if state.used.evictions < bounds.evictions
                    && content.is_evictable(self.0.rules, key)
                {
                    actions.push(Action::Evict { process: index, subtask, key });
                }
            }
        }
        if self.0.makes(Mistake::RestartWithoutClaim) && state.used.claims < bounds.claims {
            actions.push(Action::Restart(index));
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        self.arrivals(state, actions);
        for (index, process) in state.processes.iter().enumerate() {
            self.of_process(state, index as u8, process, actions);
        }
        self.starts(state, actions);
        if state.reader.is_some() {
            actions.push(Action::GoOnReading);
        } else if state.used.readers < self.0.bounds.readers {
            let keys = self.0.bounds.input.iter().map(|op| op.key()).max().unwrap_or_default();
            actions.extend((0..=keys).map(Action::BeginReading));
        }
        if self.0.makes(Mistake::TombstoneRemoved) {
            for (key, item) in state.table.items.iter().enumerate() {
                if item.is_some_and(|item| item.value.is_none()) {
                    actions.push(Action::Expire(key as u8));
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        step::next(&self.0, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(KEPT, |_, state: &State| state.broken.is_none())]
    }
}

/// The name of the one property: nothing that the protocol promises is broken.
pub(crate) const KEPT: &str = "every promise is kept";
