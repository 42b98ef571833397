//! The table of attempts, and whether they show what they are to show. Pure.

use super::super::events::{Event, Line, Restored};
use super::super::text::grouped;
use super::output::Comparison;

/// One start of the job, as its events and its end tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    /// It had begun to process records.
    pub(super) ran: bool,
    /// What it was restored from.
    pub(super) restored: Option<Restored>,
    /// The last position that it told.
    pub(super) position: u64,
    /// SIGKILL ended it.
    pub(super) killed: bool,
    /// All input was read and committed.
    pub(super) finished: bool,
    /// What an attempt inside the process failed with, which the next one would hide.
    pub(super) failure: Option<String>,
}

impl Attempt {
    /// From an attempt's events and whether it was killed.
    pub(super) fn of(lines: &[Line], killed: bool) -> Self {
        let mut attempt = Self { killed, ..Self::default() };
        for line in lines {
            match &line.event {
                Event::Running { restored, .. } => {
                    attempt.ran = true;
                    attempt.restored = *restored;
                    attempt.position = restored.map_or(0, |restored| restored.position);
                }
                Event::FirstRecord { .. } => {}
                Event::Restarting { failure } => attempt.failure = Some(failure.clone()),
                Event::Progress { position } => attempt.position = *position,
                // The position at the barrier may have been passed long ago.
                Event::Checkpoint { position, .. } => {
                    attempt.position = attempt.position.max(*position);
                }
                Event::Ended { finished, position } => {
                    attempt.finished = *finished;
                    attempt.position = *position;
                }
            }
        }
        attempt
    }

    /// Records that it read although `before` had read them already.
    fn replayed(&self, before: &Self) -> u64 {
        let from = self.restored.map_or(0, |restored| restored.position);
        before.position.saturating_sub(from)
    }
}

/// The records that were read more than once.
fn replayed(attempts: &[Attempt]) -> u64 {
    attempts.windows(2).map(|pair| pair[1].replayed(&pair[0])).sum()
}

/// The table: one line an attempt.
pub(super) fn table(attempts: &[Attempt]) -> String {
    let mut lines = vec![
        "attempt | restored from | in ms | records replayed | ended".to_owned(),
        "--------|---------------|-------|------------------|------------------------".to_owned(),
    ];
    for (index, attempt) in attempts.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| attempts.get(before));
        let (from, ms) = match attempt.restored {
            Some(restored) => {
                (format!("checkpoint {}", restored.checkpoint), restored.duration_ms.to_string())
            }
            None => ("nothing".to_owned(), "-".to_owned()),
        };
        let replayed = before.map_or("-".to_owned(), |before| grouped(attempt.replayed(before)));
        let at = grouped(attempt.position);
        let ended = match (attempt.finished, attempt.killed) {
            (true, _) => format!("finished at record {at}"),
            (false, true) => format!("killed at record {at}"),
            (false, false) => format!("ended by itself at record {at}"),
        };
        lines.push(format!("{:>7} | {from:<13} | {ms:>5} | {replayed:>16} | {ended}", index + 1));
    }
    lines.join("\n")
}

/// Why the attempts do not show what they are to show; empty: they do.
pub(super) fn objections(attempts: &[Attempt], kills: usize, output: &Comparison) -> Vec<String> {
    let mut objections = Vec::new();
    let hit = attempts.iter().filter(|a| a.killed && a.ran && !a.finished).count();
    if hit < kills {
        objections.push(format!("only {hit} of {kills} kills hit a running attempt"));
    }
    if !attempts.last().is_some_and(|last| last.finished) {
        objections.push("the last attempt did not finish".to_owned());
    }
    for (index, attempt) in attempts.iter().enumerate() {
        if let Some(failure) = &attempt.failure {
            objections.push(format!("attempt {} failed by itself: {failure}", index + 1));
        }
    }
    let restores = attempts.len().saturating_sub(1);
    let from = attempts.iter().skip(1).filter(|a| a.restored.is_some()).count();
    if 2 * from < restores {
        objections.push(format!("only {from} of {restores} restores came from a checkpoint"));
    }
    if replayed(attempts) == 0 {
        objections.push("no record was replayed, so nothing could have been lost".to_owned());
    }
    if !output.is_equal() {
        objections.push(output.difference());
    }
    objections
}

/// The last line.
pub(super) fn verdict(attempts: &[Attempt], output: &Comparison, objections: &[String]) -> String {
    if objections.is_empty() {
        format!(
            "equal: {} lines of committed output are the undisturbed run's; {} records were replayed",
            grouped(output.expected as u64),
            grouped(replayed(attempts)),
        )
    } else {
        format!("failed: {}", objections.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(checkpoint: u64, position: u64) -> Option<Restored> {
        Some(Restored { checkpoint, duration_ms: 12, position })
    }

    fn killed(restored: Option<Restored>, position: u64) -> Attempt {
        Attempt { ran: true, restored, position, killed: true, ..Attempt::default() }
    }

    fn good() -> Vec<Attempt> {
        vec![
            killed(None, 1_204),
            killed(restored(5, 1_100), 2_310),
            Attempt {
                ran: true,
                restored: restored(11, 2_300),
                position: 20_000,
                finished: true,
                ..Attempt::default()
            },
        ]
    }

    fn equal() -> Comparison {
        Comparison { expected: 20_000, lost: 0, surplus: 0, example: None }
    }

    #[test]
    fn events_of_a_killed_attempt_become_its_row() {
        let lines = [
            Event::Running { attempt: 2, restored: restored(5, 100) },
            Event::Progress { position: 140 },
            Event::Checkpoint { checkpoint: 6, position: 130 },
        ]
        .map(|event| Line { at_ms: 0, event });
        assert_eq!(Attempt::of(&lines, true), killed(restored(5, 100), 140));
        assert!(!Attempt::of(&[], true).ran);
        let failed = Event::Restarting { failure: "no room".to_owned() };
        let failed = Attempt::of(&[Line { at_ms: 0, event: failed }], true);
        assert_eq!(failed.failure.as_deref(), Some("no room"));
    }

    #[test]
    fn the_table_shows_each_attempt() {
        let table = table(&good());
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "      1 | nothing       |     - |                - | killed at record 1,204",
                "      2 | checkpoint 5  |    12 |              104 | killed at record 2,310",
                "      3 | checkpoint 11 |    12 |               10 | finished at record 20,000",
            ]
        );
    }

    #[test]
    fn good_attempts_with_equal_output_have_no_objection() {
        assert_eq!(objections(&good(), 2, &equal()), Vec::<String>::new());
        let verdict = verdict(&good(), &equal(), &[]);
        assert!(verdict.starts_with("equal: 20,000 lines"), "{verdict}");
        assert!(verdict.ends_with("114 records were replayed"), "{verdict}");
    }

    #[test]
    fn each_thing_that_is_not_shown_is_an_objection() {
        type Spoil = fn(&mut Vec<Attempt>, &mut Comparison);
        let cases: [(Spoil, &str); 7] = [
            (|a, _| a[0].ran = false, "only 1 of 2 kills"),
            (|a, _| a[1].killed = false, "only 1 of 2 kills"),
            (|a, _| a[2].finished = false, "did not finish"),
            (|a, _| (a[1].restored, a[2].restored) = (None, None), "only 0 of 2 restores"),
            (|a, _| (a[0].position, a[1].position) = (0, 0), "no record was replayed"),
            (
                |a, _| a[1].failure = Some("no room".to_owned()),
                "attempt 2 failed by itself: no room",
            ),
            (|_, c| c.lost = 1, "not equal"),
        ];
        for (spoil, part) in cases {
            let (mut attempts, mut output) = (good(), equal());
            spoil(&mut attempts, &mut output);
            let objections = objections(&attempts, 2, &output);
            assert!(objections.iter().any(|o| o.contains(part)), "{part}: {objections:?}");
            assert!(verdict(&attempts, &output, &objections).starts_with("failed: "));
        }
    }
}
