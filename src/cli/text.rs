//! What is said about a run, as text: the first line, the progress line, the summary. Pure.

use crate::runtime::{Billing, CheckpointState, JobState, JobStatus, Start};

/// Write units of one `PutItem` of a small item, what a store without a log would spend a record.
const UNITS_OF_ONE_PUT: u64 = 1;

/// The first line of output: what the run does, and on which store. `None` before that is known.
pub(super) fn opening(status: &JobStatus) -> Option<String> {
    let (name, store) = (&status.name, &status.store);
    Some(match status.start.as_ref()? {
        Start::Fresh if status.not_replayable => {
            format!("{name} starts afresh, since its input cannot be replayed, on {store}")
        }
        Start::Fresh => format!("{name} starts afresh on {store}"),
        Start::Resumed { checkpoint } => {
            format!("{name} goes on from checkpoint {checkpoint} on {store}")
        }
    })
}

/// What is to be known of the output; `None` where it is exactly once.
pub(super) fn repeats(status: &JobStatus) -> Option<String> {
    let outputs = status.at_least_once.join(", ");
    (!outputs.is_empty()).then(|| format!("results go to {outputs}"))
}

/// The progress line: records a second since `before`, the last checkpoint, lag.
pub(super) fn progress(status: &JobStatus, records_per_second: f64) -> String {
    let mut parts = vec![
        format!("{} {}", status.name, state(status.state)),
        format!("{} records", grouped(status.metrics.records_read)),
        format!("{} records/s", grouped(records_per_second.round() as u64)),
    ];
    if let Some(last) = &status.checkpoints.latest_completed {
        parts.push(format!("checkpoint {} ({})", last.id, bytes(last.written_bytes)));
    }
    let lag = [
        status.lag.records.map(|records| format!("{} records", grouped(records))),
        status.lag.bytes.map(bytes),
    ];
    let lag: Vec<String> = lag.into_iter().flatten().collect();
    if !lag.is_empty() {
        parts.push(format!("lag {}", lag.join(" and ")));
    }
    let limits =
        [("writes", status.throttling.write_limit), ("reads", status.throttling.read_limit)];
    for (what, limit) in limits {
        if let Some(limit) = limit.filter(|_| status.throttling.waiting > 0) {
            parts.push(format!("{what} at {limit:.0} units/s"));
        }
    }
    if let Some(why) = &status.input_slowed {
        parts.push(format!("input slowed: {why}"));
    }
    parts.join(" | ")
}

/// Where a run that leaves at once leaves the next one.
pub(super) fn left(status: &JobStatus, in_memory: bool) -> String {
    let checkpoints = &status.checkpoints;
    let last = checkpoints.latest_completed.as_ref().map(|last| last.id);
    let last = last.or(checkpoints.restored.map(|restored| restored.checkpoint));
    let next = match last {
        _ if status.start.is_none() => "the job had not begun".to_owned(),
        _ if in_memory => "its state is gone with it, and the next run starts afresh".to_owned(),
        _ if status.not_replayable => {
            "its input cannot be read again, and the next run starts afresh".to_owned()
        }
        Some(last) => format!("the next run goes on from checkpoint {last}"),
        None => "no checkpoint was completed, and the next run begins at the beginning".to_owned(),
    };
    format!("left at once; {next}")
}

/// The summary at the end.
pub(super) fn summary(status: &JobStatus, now_ms: u64) -> String {
    let records = status.metrics.records_read;
    let ms = status.ended_ms.unwrap_or(now_ms).saturating_sub(status.started_ms);
    let seconds = ms as f64 / 1000.0;
    let rate = if ms == 0 { 0.0 } else { records as f64 / seconds };
    let mut lines = vec![format!(
        "{} {}: {} records in {seconds:.1} s ({} records/s)",
        status.name,
        state(status.state),
        grouped(records),
        grouped(rate.round() as u64),
    )];
    let counters = &status.metrics;
    if counters.records_skipped + counters.records_dead_lettered > 0 {
        lines.push(format!(
            "  not parsed: {} skipped, {} sent aside",
            grouped(counters.records_skipped),
            grouped(counters.records_dead_lettered)
        ));
    }
    lines.push(checkpoints(status));
    let units = &status.consumed.write;
    lines.push(format!(
        "  write units: {:.1} (log {:.1}, items {:.1}, protocol {:.1}); \
         one put a record would have cost {}; read units: {:.1}",
        units.total(),
        units.log,
        units.items,
        units.protocol,
        grouped(records * UNITS_OF_ONE_PUT),
        status.consumed.read,
    ));
    lines.extend(reads(status));
    lines.push(cost(status, seconds));
    if let Some(last) = &status.throttling.last {
        let times: u64 = status.throttling.reasons.values().sum();
        lines.push(format!("  throttled {} times, the last: {last}", grouped(times)));
    }
    lines.join("\n")
}

/// Reads of state that was not in memory, where there were any.
fn reads(status: &JobStatus) -> Option<String> {
    let counters = &status.metrics;
    if counters.items_read + counters.reads_saved == 0 {
        return None;
    }
    Some(format!(
        "  reads of state: {}, of which {} found nothing; the filter of absent keys saved {} more",
        grouped(counters.items_read),
        grouped(counters.items_not_found),
        grouped(counters.reads_saved),
    ))
}

fn checkpoints(status: &JobStatus) -> String {
    let counts = &status.checkpoints.counts;
    let mut line =
        format!("  checkpoints: {} completed, {} failed", counts.completed, counts.failed);
    if let Some(last) = &status.checkpoints.latest_completed {
        debug_assert_eq!(last.status, CheckpointState::Completed);
        line += &format!(", the last {} of {}", last.id, bytes(last.written_bytes));
    }
    if let Some(restored) = &status.checkpoints.restored {
        line += &format!("; restored from {} in {} ms", restored.checkpoint, restored.duration_ms);
    }
    line
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Created | JobState::Initializing => "starts",
        JobState::Running => "runs",
        JobState::Restarting => "restarts",
        JobState::Failing => "fails",
        JobState::Cancelling => "stops",
        JobState::Finished => "finished",
        JobState::Canceled => "stopped",
        JobState::Failed => "failed",
    }
}

/// The bill of the whole run, and of an hour that is like it.
fn cost(status: &JobStatus, seconds: f64) -> String {
    let cost = &status.cost;
    let billing = match cost.billing {
        Billing::OnDemand => "on demand",
        Billing::Provisioned => "with its provisioned capacity",
    };
    let verb = if cost.on_aws { "on AWS, this cost" } else { "on AWS, this would have cost" };
    let mut line = format!("  {billing} {verb} {}", usd(cost.usd));
    if seconds > 0.0 {
        line += &format!(", {} an hour", usd(cost.usd / seconds * 3600.0));
    }
    if let Some(price) = cost.usd_per_million_records {
        line += &format!(", {} for a million records", usd(price));
    }
    if let Some(saving) = &cost.saving {
        line += &format!("; to cost less, {saving}");
    }
    line
}

/// Dollars, to two digits that say something.
fn usd(dollars: f64) -> String {
    if dollars <= 0.0 || dollars >= 1.0 {
        return format!("${dollars:.2}");
    }
    let zeros = (-dollars.log10()).floor().max(0.0) as usize;
    format!("${dollars:.*}", (zeros + 2).min(12))
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size to read, in binary units.
pub(super) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Lag, Snapshot};
    use crate::runtime::{CheckpointEntry, Restore, WriteUnits};

    fn status() -> JobStatus {
        let mut status = JobStatus {
            name: "routes".to_owned(),
            state: JobState::Finished,
            started_ms: 1_000,
            ended_ms: Some(11_000),
            store: "embedded DynamoDB, in memory".to_owned(),
            lag: Lag::bytes(1_234_567),
            ..JobStatus::default()
        };
        status.metrics.records_read = 20_000;
        status.consumed.write = WriteUnits { log: 100.0, items: 0.0, protocol: 7.5 };
        status.cost.usd = 67.2e-6;
        status.cost.usd_per_million_records = Some(3.36e-3);
        status.checkpoints.counts.completed = 2;
        status.checkpoints.record(CheckpointEntry {
            id: 9,
            status: CheckpointState::Completed,
            triggered_ms: 0,
            last_ack_ms: None,
            duration_ms: 0,
            written_bytes: 4_300,
            log_bytes: 0,
            entries: 0,
            subtasks: 1,
            acknowledged: 1,
            position: 0,
            failure: None,
        });
        status
    }

    /// It used to promise the last checkpoint, whatever there was.
    #[test]
    fn who_leaves_at_once_is_told_where_the_next_run_begins() {
        let mut status = status();
        assert_eq!(left(&status, true), "left at once; the job had not begun");
        status.start = Some(Start::Fresh);
        assert_eq!(left(&status, false), "left at once; the next run goes on from checkpoint 9");
        let gone = "left at once; its state is gone with it, and the next run starts afresh";
        assert_eq!(left(&status, true), gone);
        status.not_replayable = true;
        let once = "left at once; its input cannot be read again, and the next run starts afresh";
        assert_eq!(left(&status, false), once);
        status.not_replayable = false;
        status.checkpoints = crate::runtime::Checkpoints::default();
        let none =
            "left at once; no checkpoint was completed, and the next run begins at the beginning";
        assert_eq!(left(&status, false), none);
    }

    #[test]
    fn the_first_line_says_what_it_does_and_on_which_store() {
        let mut status = status();
        assert_eq!(opening(&status), None);
        status.start = Some(Start::Fresh);
        let fresh = "routes starts afresh on embedded DynamoDB, in memory";
        assert_eq!(opening(&status).as_deref(), Some(fresh));
        status.not_replayable = true;
        let each = "routes starts afresh, since its input cannot be replayed, on embedded DynamoDB, \
                    in memory";
        assert_eq!(opening(&status).as_deref(), Some(each));
        status.start = Some(Start::Resumed { checkpoint: 7 });
        let resumed = "routes goes on from checkpoint 7 on embedded DynamoDB, in memory";
        assert_eq!(opening(&status).as_deref(), Some(resumed));
    }

    #[test]
    fn output_that_may_repeat_is_told() {
        let mut status = status();
        assert_eq!(repeats(&status), None);
        status.at_least_once = vec!["standard output (at least once)".to_owned()];
        let told = "results go to standard output (at least once)";
        assert_eq!(repeats(&status).as_deref(), Some(told));
    }

    #[test]
    fn progress_shows_rate_checkpoint_and_lag() {
        let status = JobStatus { state: JobState::Running, ..status() };
        assert_eq!(
            progress(&status, 1999.6),
            "routes runs | 20,000 records | 2,000 records/s | checkpoint 9 (4.2 KiB) | lag 1.2 MiB"
        );
        let records = JobStatus { lag: Lag::records(Some(1_234_567)), ..status.clone() };
        assert!(progress(&records, 0.0).ends_with(" | lag 1,234,567 records"));
        let mut limited = status.clone();
        limited.throttling.write_limit = Some(812.4);
        assert!(!progress(&limited, 0.0).contains("units/s"), "nobody waits");
        limited.throttling.waiting = 3;
        assert!(progress(&limited, 0.0).ends_with(" | writes at 812 units/s"));
        let both = JobStatus { lag: status.lag.and(records.lag), ..status.clone() };
        assert!(progress(&both, 0.0).ends_with(" | lag 1,234,567 records and 1.2 MiB"));
        let unknown = JobStatus { lag: Lag::default(), ..status };
        assert!(progress(&unknown, 0.0).ends_with("(4.2 KiB)"));
    }

    #[test]
    fn the_summary_has_rate_checkpoints_and_the_bill() {
        let mut status = status();
        status.checkpoints.restored = Some(Restore {
            checkpoint: 3,
            restored_ms: 0,
            duration_ms: 41,
            position: 0,
            entries: 0,
            first_record_ms: None,
        });
        assert_eq!(
            summary(&status, 0),
            "routes finished: 20,000 records in 10.0 s (2,000 records/s)\n  \
             checkpoints: 2 completed, 0 failed, the last 9 of 4.2 KiB; restored from 3 in 41 ms\n  \
             write units: 107.5 (log 100.0, items 0.0, protocol 7.5); \
             one put a record would have cost 20,000; read units: 0.0\n  \
             on demand on AWS, this would have cost $0.000067, $0.024 an hour, \
             $0.0034 for a million records"
        );
        status.metrics.items_read = 1234;
        status.metrics.items_not_found = 5;
        status.metrics.reads_saved = 20_000;
        let reads = "  reads of state: 1,234, of which 5 found nothing; the filter of absent keys \
                     saved 20,000 more";
        assert_eq!(summary(&status, 0).lines().nth(3), Some(reads));
        status.metrics = Snapshot { records_read: 20_000, ..Snapshot::default() };
        status.cost.billing = Billing::Provisioned;
        status.cost.on_aws = true;
        status.cost.saving = Some("checkpoints are 20s apart instead of 10s".to_owned());
        status.throttling.reasons.insert("TableWriteKeyRangeThroughputExceeded".to_owned(), 1234);
        let last = "TableWriteKeyRangeThroughputExceeded on key group 17 of counts/total";
        status.throttling.last = Some(last.to_owned());
        let text = summary(&status, 0);
        let lines: Vec<_> = text.lines().skip(3).collect();
        let bill = "  with its provisioned capacity on AWS, this cost $0.000067, $0.024 an hour, \
                    $0.0034 for a million records; to cost less, checkpoints are 20s apart instead \
                    of 10s";
        let throttled = format!("  throttled 1,234 times, the last: {last}");
        assert_eq!(lines, [bill, throttled.as_str()]);
    }

    #[test]
    fn dollars_show_two_digits_that_say_something() {
        let shown = [0.0, 0.000_067_4, 0.0101, 0.5, 1.0, 12.345].map(usd);
        assert_eq!(shown, ["$0.00", "$0.000067", "$0.010", "$0.50", "$1.00", "$12.35"]);
    }

    #[test]
    fn sizes_and_numbers_are_readable() {
        assert_eq!([grouped(0), grouped(999), grouped(1000)], ["0", "999", "1,000"]);
        assert_eq!([bytes(1), bytes(1536), bytes(3 << 30)], ["1 B", "1.5 KiB", "3.0 GiB"]);
    }
}
