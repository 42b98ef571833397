//! What lines go to, and whether the last one there is whole.
//!
//! A write may end in the midst of a line: where the disk is full, where the process is killed. Owns that what comes
//! next, of whichever sink, subtask, attempt or process, begins with a line of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Opens it to write to.
pub(super) type Open = Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

/// Gives the file that it may be.
pub(super) type Look = Box<dyn Fn() -> io::Result<File> + Send + Sync>;

/// One for all who write to the same.
pub(super) struct Output {
    open: Open,
    look: Look,
    /// Whether the last line has no end yet; `None` until somebody has looked or written, for then it is known.
    torn: Mutex<Option<bool>>,
}

impl Output {
    pub(super) fn new(open: Open, look: Look) -> Self {
        Self { open, look, torn: Mutex::default() }
    }

    /// The process's standard output.
    pub(super) fn standard() -> Arc<Self> {
        static STANDARD: LazyLock<Arc<Output>> = LazyLock::new(|| {
            let look: Look = Box::new(|| io::stdout().as_fd().try_clone_to_owned().map(File::from));
            Arc::new(Output::new(Arc::new(|| Box::new(Unbuffered)), look))
        });
        Arc::clone(&STANDARD)
    }

    pub(super) fn open(&self) -> Box<dyn Write + Send> {
        (self.open)()
    }

    /// Finds out whether a process before this one has left a torn line, where that can be seen.
    pub(super) fn look(&self) {
        // A write that is under way may be seen half done.
        let mut torn = self.torn.lock().unwrap_or_else(PoisonError::into_inner);
        // A pipe or a terminal does not show what was written to it.
        torn.get_or_insert_with(|| (self.look)().and_then(|file| is_torn(&file)).unwrap_or(false));
    }

    /// Writes `lines`, which are whole, to `out`, which [`Output::open`] has given. Nobody else writes between them.
    pub(super) fn write(&self, out: &mut dyn Write, lines: &[u8]) -> io::Result<()> {
        let mut torn = self.torn.lock().unwrap_or_else(PoisonError::into_inner);
        let torn = torn.get_or_insert_default();
        // Nor a function that prints: what it has printed so far comes first.
        let mut alone = io::stdout().lock();
        alone.flush()?;
        if *torn {
            write(out, b"\n", torn)?;
        }
        write(out, lines, torn)?;
        out.flush()
    }
}

/// As `write_all`, and tells of what was written before a failure whether it ends in the midst of a line.
fn write(out: &mut dyn Write, mut rest: &[u8], torn: &mut bool) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                let (written, left) = rest.split_at(written);
                *torn = !written.ends_with(b"\n");
                rest = left;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Standard output without the buffer of [`io::Stdout`], which does not tell how much of a line has left it.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `file` is a regular one whose last line has no end.
fn is_torn(file: &File) -> io::Result<bool> {
    let known = file.metadata()?;
    if !known.is_file() || known.len() == 0 {
        return Ok(false);
    }
    // It may be open for writing only, so it is opened once more.
    let readable = File::open(format!("/dev/fd/{}", file.as_raw_fd()))?;
    let found = readable.metadata()?;
    if (found.dev(), found.ino()) != (known.dev(), known.ino()) {
        return Ok(false);
    }
    let mut last = [0];
    readable.read_exact_at(&mut last, known.len() - 1)?;
    Ok(last != *b"\n")
}
