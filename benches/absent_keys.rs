//! What a job whose keys are all new reads, with its filter of absent keys and without.
//!
//! `cargo bench --bench absent_keys [-- RECORDS RATE]`; 500,000 records at up to 50,000 a second where
//! nothing is given. A job counts the records of each key, every record has a key of its own, and a log of
//! 1 MiB has the state written to items from the first second on. Then the process is killed, and another
//! one goes on with as many new keys. DynamoDB is the embedded one, on a file. Ends with 1 where a
//! run with the filter reads items of 1 % of its records or more. A restart does not wait for the filter: what
//! comes before that is read. Beside it stand the read units of all that is read, which after a restart are the
//! log's and the filter's too, once, however many records follow.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use millpond::Result;
use millpond::config::Materialize;
use millpond::connector::{DiscardSink, Generator};
use millpond::stream::StreamEnvironment;
use support::{Count, Worker, config, given, given_file, mark, run};

/// What the issue of this benchmark asks for.
const BELOW: f64 = 0.01;

fn main() -> ExitCode {
    let done = match support::role().as_deref() {
        Some("count") => count().map(|()| true),
        _ => measure(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts until enough records are counted and nothing more is in the log than may be.
fn count() -> Result<()> {
    let (records, rate, filter) = (given("RECORDS"), given("RATE"), given("FILTER") == 1);
    let env = StreamEnvironment::new();
    env.source(Generator::unbounded(support::mix).rate(rate))
        .key_by(|key| *key)
        .process(Count::new)
        .sink(DiscardSink::new());
    let mut config = config(given_file(), Materialize::Lazy, Duration::from_millis(200));
    config.state.log_max_bytes = 1 << 20;
    config.state.filter = filter;
    let mut is_ready = false;
    run(env.build()?, config, |status| {
        let metrics = &status.metrics;
        if metrics.records_processed < records || is_ready {
            return;
        }
        is_ready = true;
        let (read, written) = (status.consumed.read, status.consumed.write.total());
        mark(
            "ready",
            format_args!(
                "{} {} {} {} {} {} {} {read:.0} {written:.0}",
                metrics.records_processed,
                metrics.items_read,
                metrics.reads_saved,
                metrics.filter_chunks_read,
                metrics.items_materialised,
                metrics.filter_chunks_materialised,
                status.memory.filter_bytes,
            ),
        );
    })
}

fn measure() -> Result<bool> {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let (records, rate) = match args[..] {
        [records, rate] => (records, rate),
        _ => (500_000, 50_000),
    };
    println!(
        "| | filter | records | reads | of records | reads saved | filter's items read | items written | filter's \
         items written | filter's memory | read units | write units |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut holds = true;
    for filter in [1, 0] {
        let folder = tempfile::tempdir()
            .map_err(|e| millpond::Error::new(millpond::ErrorKind::Io, e.to_string()))?;
        let file = folder.path().join("bench.db");
        for start in ["fresh", "again"] {
            let given = [("RECORDS", records), ("RATE", rate), ("FILTER", filter)];
            let mut worker = Worker::start("count", &file, &given)?;
            let [records, reads, saved, chunks_read, items, chunks, memory, units, written] =
                worker.numbers("ready")?;
            worker.kill()?;
            let share = reads / records;
            holds &= filter == 0 || share < BELOW;
            println!(
                "| {start} | {} | {records} | {reads} | {:.2} % | {saved} | {chunks_read} | {items} | \
                 {chunks} | {:.0} KiB | {units} | {written} |",
                if filter == 1 { "yes" } else { "no" },
                share * 100.0,
                memory / 1024.0,
            );
        }
    }
    println!("below {:.0} % with the filter: {}", BELOW * 100.0, if holds { "yes" } else { "no" });
    Ok(holds)
}
