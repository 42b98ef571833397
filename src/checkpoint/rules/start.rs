//! How a run begins: what to do with the head that is found, or with none.

use std::fmt;

use super::graph;
use super::ownership::{FencedBy, Mine, is_mine};
use crate::checkpoint::head::{Head, HeadStatus, Identity, LAYOUT};
use crate::error::{Error, ErrorKind};
use crate::ids::CheckpointId;

/// What the user insists on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartMode {
    /// Go on with what was stopped, killed or failed; start what has finished afresh.
    #[default]
    Auto,
    /// `--fresh`: a new incarnation, whatever is there.
    Fresh,
    /// `--resume`: go on, or fail.
    Resume,
}

/// What is known when a run begins.
#[derive(Clone, Copy, Debug)]
pub struct StartFacts<'a> {
    /// The head as it was read.
    pub head: Option<&'a Head>,
    /// The identity of the job that would run.
    pub identity: &'a Identity,
    /// What the user insists on.
    pub mode: StartMode,
    /// No other owner can be alive: a lock of the operating system proves it, or `--take-over` says
    /// so.
    pub exclusive: bool,
    /// Claims that this process has sent.
    pub sent: &'a [Mine],
    /// This process has run an attempt already: a restart inside the process.
    pub restart: bool,
    /// An older retained checkpoint to go back to.
    pub roll_back: Option<CheckpointId>,
}

/// How the run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// There is no head: attempt 1.
    Create,
    /// Claim, and go on from the head's checkpoint.
    Resume {
        /// Only after the head's counter has stood still for a lease.
        wait: bool,
    },
    /// Claim, commit what the old head owes, then begin a new incarnation.
    Fresh {
        /// Only after the head's counter has stood still for a lease.
        wait: bool,
    },
    /// Another attempt has taken over since this process began. Final.
    Fenced(FencedBy),
    /// Nothing is touched.
    Refused(Refusal),
}

/// Why a run does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `--resume` where no checkpoint was completed.
    NothingToResume,
    /// `--resume` of a finished run.
    Finished,
    /// The head is gone while this process owned it.
    Vanished,
    /// The table has a layout of a later Millpond.
    Layout(u32),
    /// Going on with this graph or input would give wrong results.
    Different {
        /// What differs, how it was recorded, and how it is given.
        differences: Vec<(String, String, String)>,
    },
    /// A source that cannot be gone back to has come to a job that could be gone on with.
    Once {
        /// The line of the input that says so.
        source: String,
        /// What would be given up.
        checkpoint: CheckpointId,
    },
    /// A roll-back to a checkpoint that is not retained.
    NotRetained(CheckpointId, Vec<CheckpointId>),
}

/// Decides how a run begins. Writes that follow are conditional on the head that this was decided
/// from, and are decided anew where it has changed.
#[must_use]
pub fn start(facts: &StartFacts<'_>) -> Start {
    let Some(head) = facts.head else { return without_head(facts) };
    let ours = facts.sent.iter().any(|mine| is_mine(mine, head));
    if facts.restart && !ours {
        return Start::Fenced(FencedBy { attempt: head.attempt, owner: head.owner.clone() });
    }
    if head.layout > LAYOUT {
        return Start::Refused(Refusal::Layout(head.layout));
    }
    let wait = head.status == HeadStatus::Running && !facts.exclusive && !ours;
    let finished = head.status == HeadStatus::Finished;
    let plain = facts.roll_back.is_none();
    match facts.mode {
        _ if facts.restart => resume(facts, head, false),
        StartMode::Fresh => Start::Fresh { wait },
        StartMode::Resume if finished && plain => Start::Refused(Refusal::Finished),
        StartMode::Auto if finished && plain => Start::Fresh { wait },
        StartMode::Auto if !facts.identity.is_replayable() => once(facts, head, wait),
        // Who is waited for may complete one yet.
        StartMode::Resume if plain && !wait && head.checkpoint == CheckpointId::NONE => {
            Start::Refused(Refusal::NothingToResume)
        }
        StartMode::Auto | StartMode::Resume => resume(facts, head, wait),
    }
}

/// Input that cannot be gone back to cannot be gone on with either. That a job has been given such a source is no
/// consent to give up what it has.
fn once(facts: &StartFacts<'_>, head: &Head, wait: bool) -> Start {
    let recorded = &head.identity;
    // As an earlier version has recorded it, without saying so.
    let is_recorded = |source: &str| recorded.input.lines().any(|line| line == source);
    let could_go_on = recorded.is_replayable() && !facts.identity.once().any(is_recorded);
    match facts.identity.once().next() {
        Some(source) if could_go_on && head.checkpoint != CheckpointId::NONE => {
            let source = source.to_owned();
            Start::Refused(Refusal::Once { source, checkpoint: head.checkpoint })
        }
        _ => Start::Fresh { wait },
    }
}

fn without_head(facts: &StartFacts<'_>) -> Start {
    match (facts.restart, facts.mode, facts.roll_back) {
        (true, ..) => Start::Refused(Refusal::Vanished),
        (_, StartMode::Resume, _) => Start::Refused(Refusal::NothingToResume),
        (_, _, Some(to)) => Start::Refused(Refusal::NotRetained(to, Vec::new())),
        (_, StartMode::Auto | StartMode::Fresh, None) => Start::Create,
    }
}

fn resume(facts: &StartFacts<'_>, head: &Head, wait: bool) -> Start {
    let goes_back = facts.roll_back.is_some_and(|to| to != head.checkpoint);
    let is_rolled_back = head.identity.is_rolled_back || goes_back;
    let differences = differences(&head.identity, facts.identity, is_rolled_back);
    // Where nothing is completed there is nothing to go on with: a mistyped input binds nobody.
    if !differences.is_empty() && head.checkpoint != CheckpointId::NONE {
        return Start::Refused(Refusal::Different { differences });
    }
    if let Some(to) = facts.roll_back {
        let retained: Vec<_> = head.retained.iter().map(|r| r.checkpoint).collect();
        if !retained.contains(&to) {
            return Start::Refused(Refusal::NotRetained(to, retained));
        }
    }
    Start::Resume { wait }
}

fn differences(
    stored: &Identity,
    given: &Identity,
    is_rolled_back: bool,
) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let graph = graph::differences(&stored.graph, &given.graph, is_rolled_back);
    if !graph.is_empty() {
        let what = format!("job graph: {}", graph.join("; "));
        let (stored, now) = (&stored.graph, &given.graph);
        let (old, new) = (lines_without(stored, now), lines_without(now, stored));
        found.push((what, shown(old), shown(new)));
    }
    // One line a source: that of one that is gone, the graph has told; one that is new begins.
    let is_read = |line: &&str| {
        let source = line.split(": ").next().unwrap_or_default();
        !graph::has_operator(&stored.graph, source) || graph::has_operator(&given.graph, source)
    };
    let recorded: Vec<&str> = lines_without(&stored.input, &given.input).filter(is_read).collect();
    if !recorded.is_empty() {
        let now = lines_without(&given.input, &stored.input);
        found.push(("input".to_owned(), recorded.join("\n"), shown(now)));
    }
    let numbers = [
        ("pipeline.max-parallelism", stored.max_parallelism, given.max_parallelism),
        ("version of the key encoding", stored.key_encoding, given.key_encoding),
    ];
    let numbers = numbers.iter().filter(|(_, stored, given)| stored != given);
    let number = |(what, stored, given): &(&str, u32, u32)| {
        ((*what).to_owned(), stored.to_string(), given.to_string())
    };
    found.extend(numbers.map(number));
    if stored.hash != given.hash {
        found.push(("hash of keys".to_owned(), stored.hash.clone(), given.hash.clone()));
    }
    found
}

/// The lines of `text` that `other` has not.
fn lines_without<'a>(text: &'a str, other: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(|line| !other.lines().any(|known| known == *line))
}

fn shown<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.collect();
    if lines.is_empty() { "-".to_owned() } else { lines.join("\n") }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToResume => f.write_str(
                "there is nothing to resume under this name, since no checkpoint was completed; run it \
                 without --resume to start afresh",
            ),
            Self::Finished => f.write_str(
                "the last run under this name has finished: there is nothing to resume; run it \
                 without --resume to start afresh",
            ),
            Self::Vanished => f.write_str(
                "the head of this job was deleted while it ran; run it again to start afresh",
            ),
            Self::Layout(found) => write!(
                f,
                "the table has layout {found}, this program writes {LAYOUT}: use a newer millpond"
            ),
            Self::Different { differences } => {
                f.write_str("the job is not the one that was recorded under this name:\n")?;
                for (what, stored, given) in differences {
                    write!(f, "  {what}\n    recorded: ")?;
                    indented(f, stored)?;
                    f.write_str("\n    now:      ")?;
                    indented(f, given)?;
                    f.write_str("\n")?;
                }
                f.write_str("use --fresh to start again from the beginning, or another --name")
            }
            Self::Once { source, checkpoint } => write!(
                f,
                "its input cannot be replayed any more ({source}): the job would start afresh and give up all state \
                 of checkpoint {checkpoint}, from which it can go on without that source; use --fresh to do so, or \
                 another --name"
            ),
            Self::NotRetained(to, retained) if retained.is_empty() => {
                write!(f, "checkpoint {to} is not retained: there is none under this name")
            }
            Self::NotRetained(to, retained) => {
                let list: Vec<_> = retained.iter().map(ToString::to_string).collect();
                write!(f, "checkpoint {to} is not retained; retained are {}", list.join(", "))
            }
        }
    }
}

fn indented(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&text.trim_end().replace('\n', "\n              "))
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Vanished => ErrorKind::Corrupt,
            Refusal::Layout(_) => ErrorKind::Store,
            Refusal::NothingToResume
            | Refusal::Finished
            | Refusal::Different { .. }
            | Refusal::Once { .. }
            | Refusal::NotRetained(..) => ErrorKind::Usage,
        };
        Self::new(kind, refusal.to_string())
    }
}

#[cfg(test)]
mod tests;
