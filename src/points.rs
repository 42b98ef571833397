//! Failpoints: named points of the state protocol at which a test can end the process by SIGKILL, or stop it by
//! SIGSTOP: what goes on from there after SIGCONT is a zombie, if another has taken over.
//!
//! Owns the names and the arming. `MILLPOND_KILL_AT=after-head-moved:3` ends the process at the third
//! time that it comes by `after-head-moved`, `MILLPOND_STOP_AT` stops it; without these variables,
//! which are read once, a point costs one load. Tests run the ordinary binary, so the points are in it,
//! unless it was built without the feature `test-kit`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, ErrorKind, Result};

/// The variable that arms a point for SIGKILL: `NAME` or `NAME:HIT`, the first hit being 1.
pub const KILL_VARIABLE: &str = "MILLPOND_KILL_AT";
/// The variable that arms a point for SIGSTOP, in the same form. Where both are set, this one is not
/// looked at.
pub const STOP_VARIABLE: &str = "MILLPOND_STOP_AT";

/// Before a segment is put.
pub const BEFORE_SEGMENT_PUT: &str = "before-segment-put";
/// After a segment's put was answered.
pub const AFTER_SEGMENT_PUT: &str = "after-segment-put";
/// Before the first part of a manifest is put.
pub const BEFORE_MANIFEST_PUT: &str = "before-manifest-put";
/// After all parts of a manifest were answered.
pub const AFTER_MANIFEST_PUT: &str = "after-manifest-put";
/// Before the head's move is sent.
pub const BEFORE_HEAD_MOVED: &str = "before-head-moved";
/// After the head has moved, before anyone is notified.
pub const AFTER_HEAD_MOVED: &str = "after-head-moved";
/// Before a sink renames a staged file.
pub const BEFORE_SINK_RENAMED: &str = "before-sink-renamed";
/// After a sink has renamed a staged file.
pub const AFTER_SINK_RENAMED: &str = "after-sink-renamed";
/// Before a batch of entries is materialised.
pub const BEFORE_MATERIALISE_PUT: &str = "before-materialise-put";
/// After a batch of entries was materialised.
pub const AFTER_MATERIALISE_PUT: &str = "after-materialise-put";
/// Before the last checkpoint of a bounded input is triggered.
pub const BEFORE_LAST_CHECKPOINT: &str = "before-last-checkpoint";
/// After the last checkpoint of a bounded input, before its sinks commit and the head says finished.
pub const AFTER_LAST_CHECKPOINT: &str = "after-last-checkpoint";

/// Before a batch of a purge's deletions is sent.
pub const BEFORE_DELETION: &str = "before-deletion";
/// After a batch of a purge's deletions was answered.
pub const AFTER_DELETION: &str = "after-deletion";

/// Those that a job passes, in the order of the protocol.
pub const ALL: [&str; 12] = [
    BEFORE_SEGMENT_PUT,
    AFTER_SEGMENT_PUT,
    BEFORE_MANIFEST_PUT,
    AFTER_MANIFEST_PUT,
    BEFORE_HEAD_MOVED,
    AFTER_HEAD_MOVED,
    BEFORE_SINK_RENAMED,
    AFTER_SINK_RENAMED,
    BEFORE_MATERIALISE_PUT,
    AFTER_MATERIALISE_PUT,
    BEFORE_LAST_CHECKPOINT,
    AFTER_LAST_CHECKPOINT,
];

/// Those that a purge passes, by hand or in the background of a job.
pub const OF_PURGES: [&str; 2] = [BEFORE_DELETION, AFTER_DELETION];

fn known() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().chain(OF_PURGES)
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

#[derive(Debug)]
struct Armed {
    name: &'static str,
    remaining: AtomicU64,
    signal: Signal,
}

impl Armed {
    fn from_environment() -> Option<Self> {
        let armed = |variable, signal| {
            let text = std::env::var(variable).ok()?;
            let (name, hit) = parse(variable, &text).ok()?;
            Some(Self { name, remaining: AtomicU64::new(hit), signal })
        };
        armed(KILL_VARIABLE, Signal::KILL).or_else(|| armed(STOP_VARIABLE, Signal::STOP))
    }

    /// Whether this is the hit that was asked for.
    fn is_due(&self, name: &str) -> bool {
        self.name == name && self.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// Passes the point `name`; ends or stops the process there if it is armed for this hit.
#[inline]
pub fn hit(name: &'static str) {
    if cfg!(feature = "test-kit")
        && let Some(armed) = ARMED.get_or_init(Armed::from_environment)
        && armed.is_due(name)
    {
        signal_self(armed.signal);
    }
}

/// Checks what the environment asks for, so that a misspelt point is not a test that tests nothing.
///
/// # Errors
/// [`ErrorKind::Usage`] that names the known points, or says that this build has none.
pub fn check_environment() -> Result<()> {
    for variable in [KILL_VARIABLE, STOP_VARIABLE] {
        if let Ok(text) = std::env::var(variable) {
            parse(variable, &text)?;
            if !cfg!(feature = "test-kit") {
                let why = "this binary was built without the feature test-kit, and has no points";
                return Err(Error::new(ErrorKind::Usage, format!("{variable} is set, and {why}")));
            }
        }
    }
    Ok(())
}

fn parse(variable: &str, text: &str) -> Result<(&'static str, u64)> {
    let (name, hit) = text.split_once(':').unwrap_or((text, "1"));
    let point = known().find(|known| *known == name);
    let hit = hit.parse().ok().filter(|hit| *hit > 0);
    point.zip(hit).ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "{variable} is {text:?}; use NAME or NAME:HIT with one of {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        )
    })
}

/// Long enough for a signal to reach all threads; of a process that is stopped it passes meanwhile.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// SIGKILL: no destructor, no flush, no signal handler, as if the machine had gone. SIGSTOP: goes on
/// after a SIGCONT as if no time had passed.
fn signal_self(signal: Signal) {
    let me = rustix::process::getpid();
    let _sent = rustix::process::kill_process(me, signal);
    // The signal is on its way; nothing of the protocol may happen before it is here.
    std::thread::park_timeout(ON_ITS_WAY);
    if signal == Signal::KILL {
        loop {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_due_at_the_hit_that_was_asked_for_and_at_no_other() {
        let armed =
            Armed { name: AFTER_HEAD_MOVED, remaining: AtomicU64::new(3), signal: Signal::KILL };
        let mut due = Vec::new();
        for _ in 0..6 {
            assert!(!armed.is_due(BEFORE_HEAD_MOVED));
            due.push(armed.is_due(AFTER_HEAD_MOVED));
        }
        assert_eq!(due, [false, false, true, false, false, false]);
    }

    #[test]
    fn misspelt_points_are_errors_that_name_the_known_ones() {
        assert_eq!(parse(KILL_VARIABLE, "after-head-moved:3").unwrap(), (AFTER_HEAD_MOVED, 3));
        assert_eq!(parse(KILL_VARIABLE, "after-head-moved").unwrap(), (AFTER_HEAD_MOVED, 1));
        for bad in ["after-head-move", "after-head-moved:0", "after-head-moved:x", ""] {
            assert!(
                parse(STOP_VARIABLE, bad).unwrap_err().message().contains(BEFORE_SEGMENT_PUT),
                "{bad}"
            );
        }
    }

    /// Runs in a process of its own, started by the test below.
    #[test]
    #[ignore = "ends its own process"]
    fn passes_a_point_three_times() {
        for passed in 1..=3 {
            hit(AFTER_MANIFEST_PUT);
            println!("passed {passed}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_armed_point_ends_the_process_by_sigkill_at_its_hit() {
        use std::os::unix::process::ExitStatusExt;
        let run = |at: &str| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture"])
                .arg("points::tests::passes_a_point_three_times")
                .env(KILL_VARIABLE, at)
                .output()
                .unwrap()
        };
        let killed = run("after-manifest-put:2");
        let text = String::from_utf8_lossy(&killed.stdout).into_owned();
        assert_eq!(killed.status.signal(), Some(9), "{text}");
        assert!(text.contains("passed 1") && !text.contains("passed 2"), "{text}");
        assert!(run("before-manifest-put").status.success());
        assert!(run("after-manifest-put:4").status.success());
    }
}
