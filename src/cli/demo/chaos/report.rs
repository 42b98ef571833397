//! The rows of the table, and whether all together show what they are to show. Pure.

use std::time::Duration;

use super::super::super::text::grouped;
use super::super::output::Comparison;
use super::endpoint::Calls;
use super::plan::Kind;

/// What came of a disturbance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Whether it disturbed a job that was at work, in the way it was meant to.
    pub(super) really: bool,
    /// In words.
    pub(super) told: String,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Since the disturbances began.
    pub(super) at: Duration,
    pub(super) kind: Kind,
    pub(super) hit: Hit,
    /// From then until an attempt had completed checkpoints again.
    pub(super) again: Duration,
    /// That attempt.
    pub(super) attempt: u64,
    /// How far it was.
    pub(super) position: u64,
}

/// The line above the rows.
pub(super) fn heading() -> String {
    format!(
        "{:>7} | {:<20} | {:<66} | {:>12} | {:>7} | {:>9}\n{:-<8}|{:-<22}|{:-<68}|{:-<14}|{:-<9}|{:-<10}",
        "at s",
        "disturbance",
        "what came of it",
        "goes on in s",
        "attempt",
        "record",
        "",
        "",
        "",
        "",
        "",
        ""
    )
}

impl Row {
    /// The row.
    pub(super) fn line(&self) -> String {
        format!(
            "{:>7.1} | {:<20} | {:<66} | {:>12.1} | {:>7} | {:>9}",
            self.at.as_secs_f64(),
            self.kind.name(),
            if self.hit.really {
                self.hit.told.clone()
            } else {
                format!("MISSED: {}", self.hit.told)
            },
            self.again.as_secs_f64(),
            self.attempt,
            grouped(self.position),
        )
    }
}

/// What was seen besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Attempts that processed records.
    pub(super) attempts: u64,
    /// Records that were read although an attempt before had read them.
    pub(super) replayed: u64,
    /// What zombies wrote after they were fenced.
    pub(super) zombies: Calls,
    /// The input ended before the disturbances did.
    pub(super) too_short: bool,
    /// What attempts failed with that nobody had disturbed so: the next one in the process would hide it.
    pub(super) failures: Vec<String>,
}

/// The kinds that never hit.
pub(super) fn missing(rows: &[Row]) -> Vec<Kind> {
    let hit = |kind: &Kind| rows.iter().any(|row| row.hit.really && row.kind == *kind);
    Kind::ALL.iter().filter(|kind| !hit(kind)).copied().collect()
}

/// Why it was not shown that nothing is lost; empty: it was.
pub(super) fn objections(rows: &[Row], totals: &Totals, output: &Comparison) -> Vec<String> {
    let never = |kind: Kind| format!("{:?} never hit", kind.name());
    let mut objections: Vec<_> = missing(rows).into_iter().map(never).collect();
    if totals.zombies.refused == 0 {
        objections.push("no zombie tried to write after it was fenced".to_owned());
    }
    if totals.replayed == 0 {
        objections.push("no record was replayed, so nothing could have been lost".to_owned());
    }
    let by_itself = |failure: &String| format!("an attempt failed by itself: {failure}");
    objections.extend(totals.failures.iter().map(by_itself));
    if totals.too_short {
        objections.push("the input ended before the disturbances did".to_owned());
    }
    if !output.is_equal() {
        objections.push(output.difference());
    }
    objections
}

/// The last lines.
pub(super) fn verdict(
    rows: &[Row],
    totals: &Totals,
    output: &Comparison,
    objections: &[String],
) -> String {
    let hits = rows.iter().filter(|row| row.hit.really).count();
    let counts = format!(
        "{hits} of {} disturbances hit; {} attempts; {} records were replayed; of {} writes that \
         zombies sent after they were fenced {} were refused",
        rows.len(),
        totals.attempts,
        grouped(totals.replayed),
        totals.zombies.writes,
        totals.zombies.refused,
    );
    let verdict = if objections.is_empty() {
        let lines = grouped(output.expected as u64);
        format!("equal: {lines} lines of committed output are the undisturbed run's")
    } else {
        format!("failed: {}", objections.join("; "))
    };
    format!("{counts}\n{verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, really: bool) -> Row {
        let hit = Hit { really, told: "attempt 3 ended".to_owned() };
        let (at, again) = (Duration::from_millis(12_340), Duration::from_millis(1_260));
        Row { at, kind, hit, again, attempt: 4, position: 12_345 }
    }

    fn good() -> (Vec<Row>, Totals, Comparison) {
        let rows = Kind::ALL.iter().map(|kind| row(*kind, true)).collect();
        let zombies = Calls { writes: 5, refused: 3 };
        let totals = Totals { attempts: 7, replayed: 9, zombies, ..Totals::default() };
        (rows, totals, Comparison { expected: 2_000, lost: 0, surplus: 0, example: None })
    }

    #[test]
    fn a_row_shows_what_came_of_it() {
        let line = row(Kind::Kill, true).line();
        assert_eq!(
            line.split('|').map(str::trim).collect::<Vec<_>>(),
            ["12.3", "SIGKILL to the owner", "attempt 3 ended", "1.3", "4", "12,345"]
        );
        assert!(row(Kind::Kill, false).line().contains("MISSED: attempt 3 ended"));
        assert_eq!(
            heading().lines().nth(1).unwrap().len(),
            heading().lines().next().unwrap().len()
        );
    }

    #[test]
    fn disturbances_that_all_hit_with_equal_output_have_no_objection() {
        let (rows, totals, output) = good();
        assert_eq!(objections(&rows, &totals, &output), Vec::<String>::new());
        let verdict = verdict(&rows, &totals, &output, &[]);
        assert!(
            verdict.ends_with("equal: 2,000 lines of committed output are the undisturbed run's")
        );
    }

    #[test]
    fn each_thing_that_is_not_shown_is_an_objection() {
        type Spoil = fn(&mut Vec<Row>, &mut Totals, &mut Comparison);
        let cases: [(Spoil, &str); 7] = [
            (|r, _, _| r[2].hit.really = false, "\"SIGSTOP to the owner\" never hit"),
            (|r, _, _| drop(r.pop()), "never hit"),
            (|_, t, _| t.zombies.refused = 0, "no zombie tried to write"),
            (|_, t, _| t.replayed = 0, "no record was replayed"),
            (|_, t, _| t.too_short = true, "the input ended"),
            (|_, t, _| t.failures.push("oh".to_owned()), "an attempt failed by itself: oh"),
            (|_, _, c| c.surplus = 2, "not equal"),
        ];
        for (spoil, part) in cases {
            let (mut rows, mut totals, mut output) = good();
            spoil(&mut rows, &mut totals, &mut output);
            let objections = objections(&rows, &totals, &output);
            assert!(objections.iter().any(|o| o.contains(part)), "{part}: {objections:?}");
            assert!(verdict(&rows, &totals, &output, &objections).contains("\nfailed: "));
        }
    }
}
