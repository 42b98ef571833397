//! The warnings of one test, whatever others log beside it.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::{Dispatch, Level};

/// Nobody's. Where only one subscriber lives, whether a line is wanted is asked of the thread that comes to it first,
/// which may be another test's, and remembered: with two, all are asked.
static SECOND: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish()));

/// What `work` comes to, and the lines that it warns of.
pub(crate) async fn warnings<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    let _lives_on = &*SECOND;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    let logged = tracing::subscriber::set_default(subscriber);
    let outcome = work.await;
    drop(logged);
    let written = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = written.lines().map(|line| line.trim().trim_start_matches("WARN ").to_owned());
    (outcome, lines.collect())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
