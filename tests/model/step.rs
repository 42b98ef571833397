//! What one action makes of a state.

mod claims;

use millpond::checkpoint::Head;
use millpond::checkpoint::rules::{self, Mine, Resolution};
use millpond::state::WriteOutcome;

use super::attempt::{Attempt, Out, World};
use super::cell::Cell;
use super::mistakes::Mistake;
use super::oracle::{Broken, check_output, check_table, fold};
use super::reader::{Outcome, Reader};
use super::state::{Action, Phase, State};
use super::table::{Answer, Body, Message};

/// A state on its way to the next.
pub(crate) struct Step<'a> {
    world: &'a World,
    state: State,
}

/// The state after `action`; `None` where it changes nothing or leaves the bounds.
pub(crate) fn next(world: &World, state: &State, action: Action) -> Option<State> {
    let mut step = Step { world, state: state.clone() };
    step.take(action)?;
    step.settle(state);
    let next = step.state;
    (next.network.len() <= world.bounds.in_flight || next.broken.is_some()).then_some(next)
}

impl Step<'_> {
    fn take(&mut self, action: Action) -> Option<()> {
        match action {
            Action::Start { parallelism, back_to } => self.start(parallelism, back_to),
            Action::Arrive(index) => self.arrive(index as usize),
            Action::Copy(index) => {
                let copy = self.state.network[index as usize].body.clone();
                self.state.used.copies += 1;
                self.state.network.push(Message { sender: 0, body: copy });
                Some(())
            }
            Action::ReadClaim(process) => self.read_claim(process as usize),
            Action::Restore(process) => self.restore(process as usize),
            Action::Record { process, stale } => self.record(process as usize, stale),
            Action::Trigger(process) => {
                self.with(process, |attempt, world, out| attempt.trigger(world, out))
            }
            Action::Abort(process) => {
                self.state.used.aborts += 1;
                self.with(process, |attempt, world, out| attempt.abort(world, out))
            }
            Action::ReadMove(process) => self.read_move(process as usize),
            Action::Clean { process, subtask } => self.clean(process as usize, subtask as usize),
            Action::Evict { process, subtask, key } => {
                self.state.used.evictions += 1;
                self.with(process, |attempt, _, _| {
                    attempt.subtasks[subtask as usize].update(|s| s.evict(key));
                })
            }
            Action::Restart(process) => self.restart(process as usize),
            Action::Expire(key) => {
                self.state.table.update(|table| table.items[key as usize] = None);
                Some(())
            }
            Action::BeginReading(key) => {
                self.state.used.readers += 1;
                self.state.reader = Some(Cell::new(Reader::begin(&self.state.table, key)?));
                Some(())
            }
            Action::GoOnReading => {
                let reader = self.state.reader.take()?;
                match reader.step(self.world, &self.state.table) {
                    Outcome::GoesOn(next) => self.state.reader = Some(Cell::new(next)),
                    Outcome::Over => {}
                    Outcome::Wrong(broken) => self.breaks(broken),
                }
                Some(())
            }
        }
    }

    /// What holds of the new state, and its one form.
    fn settle(&mut self, before: &State) {
        let state = &mut self.state;
        let rules = self.world.rules;
        if state.table != before.table {
            let broken = check_table(self.world, &state.table);
            state.broken = state.broken.or(broken);
        }
        let moved = state.table.head != before.table.head || state.published != before.published;
        if self.world.bounds.sinks && moved && state.broken.is_none() {
            state.broken = check_output(self.world, state);
        }
        let (table, published) = (&state.table, &state.published);
        state.network.retain(|message| {
            message.sender != 0
                || match &*message.body {
                    Body::Commit { owed } => {
                        owed.iter().any(|o| !published.iter().any(|p| *p == *o.committable.0))
                    }
                    body => table.may_take_effect(rules, body),
                }
        });
        state.network.sort_unstable_by_key(|message| (message.sender, message.body.hash()));
    }

    fn breaks(&mut self, broken: Broken) {
        self.state.broken.get_or_insert(broken);
    }

    fn send(&mut self, sender: u8, bodies: Vec<Body>) {
        let message = |body| Message { sender, body: Cell::new(body) };
        self.state.network.extend(bodies.into_iter().map(message));
    }

    fn arrive(&mut self, index: usize) -> Option<()> {
        let Message { sender, body } = self.state.network.remove(index);
        let rules = self.world.rules;
        let before = self.state.table.head.clone();
        let mut table = self.state.table.clone();
        let answer = table.update(|table| table.apply(rules, &body));
        if table != self.state.table {
            self.state.table = table;
        }
        let back = matches!(&*body, Body::Claim { back: true, .. });
        let numbers = before.zip(self.state.table.head.as_ref());
        if numbers.is_some_and(|(old, new)| new.checkpoint < old.checkpoint) && !back {
            self.breaks(Broken::HeadWentBack);
        }
        if let Body::Commit { owed } = &*body {
            for owed in owed {
                let committable = owed.committable.0.as_slice().try_into().unwrap();
                if !self.state.published.contains(&committable) {
                    self.state.published.push(committable);
                }
            }
            self.state.published.sort_unstable();
        }
        if let Some(index) = self.state.processes.iter().position(|p| p.id == sender) {
            self.answered(index, &body, answer)?;
        }
        Some(())
    }

    fn answered(&mut self, index: usize, body: &Body, answer: Answer) -> Option<()> {
        let process = self.state.processes[index].clone();
        match (&process.phase, answer) {
            (Phase::Claiming { mine, read }, Answer::Head(Some(head))) => {
                let head = match read {
                    // The mistake: what was read before, as if it were mine.
                    Some(read) if self.world.makes(Mistake::DecidedBeforeClaim) => {
                        let (attempt, owner) = (mine.attempt, mine.owner.clone());
                        Cell::new(Head { attempt, owner, ..(**read).clone() })
                    }
                    _ => head,
                };
                self.claimed(index, head)
            }
            (Phase::Running(attempt), Answer::Head(Some(head))) => {
                self.resolve_move(index, attempt, Some(&head))
            }
            (Phase::Running(_), Answer::Outcome(outcome)) => {
                let fenced = matches!(outcome, WriteOutcome::Fenced(_));
                if fenced && !self.world.bounds.ignores_fence {
                    self.ends(index);
                    return Some(());
                }
                self.with(index as u8, |attempt, world, out| match body {
                    Body::Segment { .. } => attempt.segment_answered(world, body, out),
                    Body::Part { .. } => attempt.part_answered(world, out),
                    Body::Item { key, .. } => {
                        let of = attempt.subtasks.iter_mut().find(|s| s.owns(*key));
                        of.into_iter()
                            .for_each(|s| s.update(|s| s.item_answered(world.rules, *key)));
                    }
                    _ => {}
                })
            }
            (Phase::Running(_), Answer::Committed) => {
                self.with(index as u8, |attempt, world, out| {
                    if let Body::Commit { owed } = body {
                        attempt.committed(world, owed, out);
                    }
                })
            }
            // A refusal: the head is read before anything is concluded.
            _ => Some(()),
        }
    }

    fn record(&mut self, index: usize, stale: bool) -> Option<()> {
        let process = self.state.processes[index].clone();
        let Phase::Running(attempt) = &process.phase else { return None };
        let (owner, op) = attempt.next_record(&self.world.bounds)?;
        let (key, position) = (op.key(), attempt.position);
        let table = &self.state.table;
        let of = if stale { &table.before } else { &table.items };
        let item = of[key as usize];
        let before = self.with(index as u8, |attempt, _, _| {
            attempt.position += 1;
            attempt.subtasks[owner].update(|subtask| {
                if !subtask.entries[key as usize].resident {
                    let read = item.filter(|_| subtask.needs_read(key));
                    subtask.admit(key, read);
                }
                let before = subtask.entries[key as usize].value;
                subtask.run(op, position);
                before
            })
        })?;
        let expected = fold(self.world.bounds.input, position, key);
        if before != expected && self.is_owner(&attempt.mine) {
            self.breaks(Broken::ReadsWrong);
        }
        Some(())
    }

    fn clean(&mut self, index: usize, subtask: usize) -> Option<()> {
        self.state.used.cleanings += 1;
        let process = self.state.processes[index].clone();
        let Phase::Running(attempt) = &process.phase else { return None };
        let table = self.state.table.clone();
        let number = attempt.mine.attempt;
        let cleaned = self.with(index as u8, |attempt, world, out| {
            let cleaned =
                attempt.subtasks[subtask].update(|s| s.clean(world.rules, &table, number))?;
            Some(cleaned.map(|writes| out.bodies.extend(writes)).is_some())
        })??;
        if !cleaned {
            if self.is_owner(&attempt.mine) {
                self.breaks(Broken::SegmentGone);
            }
            self.ends(index);
        }
        Some(())
    }

    fn read_move(&mut self, index: usize) -> Option<()> {
        let process = self.state.processes[index].clone();
        let Phase::Running(attempt) = &process.phase else { return None };
        let shown = self.state.table.head.clone();
        self.resolve_move(index, attempt, shown.as_deref())
    }

    fn resolve_move(
        &mut self,
        index: usize,
        attempt: &Attempt,
        shown: Option<&Head>,
    ) -> Option<()> {
        let super::attempt::Stage::Moving { previous, next, .. } = &attempt.stage else {
            return None;
        };
        let id = self.state.processes[index].id;
        let is_move = |body: &Body| matches!(body, Body::Move { .. });
        match rules::resolve_move(&attempt.mine, *previous, *next, shown) {
            Resolution::Completed => {
                self.orphan(id, is_move);
                self.with(index as u8, |attempt, world, out| attempt.moved(world, out))
            }
            Resolution::SendAgain => {
                let waits = |m: &Message| m.sender == id && is_move(&m.body);
                if self.state.network.iter().any(waits) {
                    return None;
                }
                self.send(id, attempt.the_move().into_iter().collect());
                Some(())
            }
            Resolution::Fenced(_) => {
                self.ends(index);
                Some(())
            }
            Resolution::Broken => {
                self.breaks(Broken::HeadWentBack);
                Some(())
            }
        }
    }

    fn is_owner(&self, mine: &Mine) -> bool {
        self.state.table.head.as_ref().is_some_and(|head| rules::is_mine(mine, head))
    }

    /// Changes a running attempt, and sends what it says.
    fn with<R>(
        &mut self,
        index: u8,
        change: impl FnOnce(&mut Attempt, &World, &mut Out) -> R,
    ) -> Option<R> {
        let world = self.world;
        let mut out = Out::default();
        let result = self.state.processes[index as usize].update(|process| {
            let Phase::Running(attempt) = &mut process.phase else { return None };
            Some(attempt.update(|attempt| change(attempt, world, &mut out)))
        })?;
        self.carry_out(index as usize, out);
        Some(result)
    }

    fn carry_out(&mut self, index: usize, out: Out) {
        let id = self.state.processes[index].id;
        if out.parts_called_off {
            self.orphan(id, |body| matches!(body, Body::Part { .. }));
        }
        if out.move_called_off {
            self.orphan(id, |body| matches!(body, Body::Move { .. }));
        }
        if let Some(believed) = out.believed {
            let process = self.state.processes[index].clone();
            let Phase::Running(attempt) = &process.phase else { return };
            let named = self.state.table.head.as_ref().and_then(|h| h.retained.last().copied());
            if self.is_owner(&attempt.mine) && named != Some(believed) {
                self.breaks(Broken::OtherManifest);
            }
        }
        self.send(id, out.bodies);
    }

    /// Nobody waits any more for the answers to these requests of a process.
    fn orphan(&mut self, id: u8, which: impl Fn(&Body) -> bool) {
        let of = |m: &&mut Message| m.sender == id && which(&m.body);
        self.state.network.iter_mut().filter(of).for_each(|m| m.sender = 0);
    }

    /// A process is no more; its requests may still arrive.
    fn ends(&mut self, index: usize) {
        let id = self.state.processes.remove(index).id;
        self.orphan(id, |_| true);
    }
}
