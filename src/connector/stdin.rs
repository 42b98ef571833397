//! Standard input as a source of lines. It cannot be replayed.
//!
//! What was read and not yet given out belongs to the source, not to a reader: a restart in the same
//! process goes on with it, even with a read that the reader before had begun. What had been given
//! out after the last checkpoint is lost then, which is what *not replayable* means.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, PoisonError};

use futures::future::LocalBoxFuture;

use super::file::{Format, Frame, Lines, Parsed, Parser};
use super::{Progress, Reader, ReaderContext, Source, SplitState};
use crate::error::{Error, ErrorKind, Result};
use crate::io::Io;
use crate::record::{Batch, Origin};
use crate::sync::{Mutex, MutexGuard, Notify};

/// How much one read asks for, in bytes.
const CHUNK: usize = 64 << 10;
/// Longest line, in bytes.
const MAX_LINE: usize = 1 << 20;
const SPLIT: &str = "stdin";

/// Lines of standard input, up to its end.
#[derive(Clone)]
pub struct StdinSource(Arc<Pump>);

/// What is read by whichever reader comes first.
struct Pump {
    input: Mutex<Box<dyn Read + Send>>,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    data: Vec<u8>,
    /// How much of `data` was given out.
    at: usize,
    /// The offset of `data[0]`, and the lines before `at`.
    base: u64,
    lines: u64,
    reading: bool,
    ended: bool,
    failed: Option<String>,
}

impl StdinSource {
    /// The process's standard input.
    #[must_use]
    pub fn new() -> Self {
        Self::of(std::io::stdin())
    }

    pub(super) fn of(input: impl Read + Send + 'static) -> Self {
        Self(Arc::new(Pump {
            input: Mutex::new(Box::new(input)),
            state: Mutex::default(),
            arrived: Notify::new(),
        }))
    }
}

impl Default for StdinSource {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StdinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdinSource")
    }
}

impl Source for StdinSource {
    type Item = String;

    fn describe(&self) -> String {
        "standard input, which cannot be replayed".to_owned()
    }

    fn replayable(&self) -> bool {
        false
    }

    fn bounded(&self) -> bool {
        true
    }

    fn discover(&self, _parallelism: u32) -> Result<Vec<SplitState>> {
        Ok(vec![SplitState { id: SPLIT.to_owned(), state: Vec::new(), done: false }])
    }

    fn check(&self, _splits: &[SplitState]) -> Result<()> {
        Ok(())
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<String>>> {
        Ok(Box::new(StdinReader { pump: Arc::clone(&self.0), splits, context, taken: 0 }))
    }
}

struct StdinReader {
    pump: Arc<Pump>,
    splits: Vec<SplitState>,
    context: ReaderContext,
    taken: usize,
}

impl Pump {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a read, unless one is under way.
    fn read(self: &Arc<Self>, io: &Io) {
        if std::mem::replace(&mut self.state().reading, true) {
            return;
        }
        let pump = Arc::clone(self);
        // Nobody waits for the result: it arrives in the state, for whoever reads then.
        drop(io.blocking(move || {
            let mut chunk = vec![0; CHUNK];
            let mut input = pump.input.lock().unwrap_or_else(PoisonError::into_inner);
            let result = loop {
                match input.read(&mut chunk) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            let mut state = pump.state();
            match result {
                Ok(0) => state.ended = true,
                Ok(n) => state.data.extend_from_slice(&chunk[..n]),
                Err(e) => state.failed = Some(e.to_string()),
            }
            state.reading = false;
            pump.arrived.notify_one();
            Ok(())
        }));
    }
}

impl State {
    /// The next line and its offset; `None`: it is not there yet.
    fn line(&mut self) -> Result<Option<(String, u64)>> {
        let rest = &self.data[self.at..];
        let byte = self.base + self.at as u64;
        let bad = |reason: &str| {
            Error::new(
                ErrorKind::Input,
                format!(
                    "cannot read standard input, line {} (byte {byte}): {reason}",
                    self.lines + 1
                ),
            )
        };
        if rest.is_empty() {
            return Ok(None);
        }
        let (end, next) = match Lines.frame(rest, self.ended) {
            Frame::Record { end, next, .. } if end <= MAX_LINE => (end, next),
            Frame::More if rest.len() <= MAX_LINE + 1 => return Ok(None),
            _ => return Err(bad(&format!("longer than {MAX_LINE} bytes"))),
        };
        // A byte-order mark is no part of the text.
        let mark = if byte == 0 && rest.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        match Lines.parse(&rest[mark.min(end)..end]) {
            Parsed::Item(text) => {
                self.at += next;
                self.lines += 1;
                Ok(Some((text, byte)))
            }
            Parsed::Bad(reason) | Parsed::Hopeless(reason) => Err(bad(&reason)),
            Parsed::Blank => Err(bad("no line")),
        }
    }

    /// Forgets what was given out.
    fn compact(&mut self) {
        self.base += self.at as u64;
        self.data.drain(..self.at);
        self.at = 0;
    }
}

impl StdinReader {
    /// Appends the lines that are there.
    fn fill(&self, out: &mut Batch<String>) -> Result<usize> {
        let mut state = self.pump.state();
        let mut taken = 0;
        while taken < self.context.batch_size {
            let Some((text, position)) = state.line()? else { break };
            out.values.push(text);
            if self.context.with_origin {
                out.origins.push(Origin { split: Arc::from(SPLIT), position });
            }
            taken += 1;
        }
        if taken < self.context.batch_size {
            state.compact();
        }
        Ok(taken)
    }
}

impl Reader<String> for StdinReader {
    fn next<'a>(&'a mut self, out: &'a mut Batch<String>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            loop {
                if self.splits.iter().all(|s| s.done) {
                    return Ok(Progress::End);
                }
                let taken = self.fill(out)?;
                if taken > 0 {
                    self.taken += taken;
                    return Ok(Progress::More);
                }
                let (ended, failed) = {
                    let state = self.pump.state();
                    (state.ended, state.failed.clone())
                };
                if let Some(reason) = failed {
                    let message = format!("cannot read standard input: {reason}");
                    return Err(Error::new(ErrorKind::Io, message));
                }
                if ended {
                    self.splits.iter_mut().for_each(|s| s.done = true);
                    continue;
                }
                self.pump.read(&self.context.io);
                self.pump.arrived.notified().await;
            }
        })
    }

    fn snapshot(&self) -> Vec<SplitState> {
        self.splits.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{self, Gate, block_on, drain};
    use futures::FutureExt;

    /// Gives its pieces one read at a time.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            out[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    /// Gives at most so many bytes at a time.
    struct Slow(std::io::Cursor<Vec<u8>>, usize);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let most = out.len().min(self.1);
            self.0.read(&mut out[..most])
        }
    }

    fn told(bytes: &[u8], at_a_time: usize) -> String {
        let source = StdinSource::of(Slow(std::io::Cursor::new(bytes.to_vec()), at_a_time));
        let splits = source.discover(1).unwrap();
        let mut reader = source.reader(splits, testing::context(4)).unwrap();
        let mut out = Batch::default();
        loop {
            match block_on(reader.next(&mut out)) {
                Ok(Progress::More) => {}
                Ok(_) => return format!("{:?}", out.values),
                Err(e) => {
                    assert!(e.to_string().starts_with("cannot read standard input, line "), "{e}");
                    return e.to_string();
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_lines_or_an_error() {
        let target = crate::fuzzing::Target::new("stdin").seed("one\ntwo\r\n\nthree");
        target.tokens(&["\r\n", "\n", "\u{feff}"]).memory(8 << 20).run(|bytes| {
            let whole = told(bytes, usize::MAX);
            let slowly = told(bytes, 1 + bytes.len() / 7);
            assert!(whole == slowly, "in pieces: {slowly:.300}");
            whole
        });
    }

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        let source = StdinSource::of(Pieces(vec![b"\xef\xbb\xbfa", b"b\r", b"\n\nc", b"d"]));
        let batch = drain(&source, source.discover(4).unwrap(), 10);
        assert_eq!(batch.values, ["ab", "", "cd"]);
        assert_eq!(batch.origins.iter().map(|o| o.position).collect::<Vec<_>>(), [0, 7, 8]);
    }

    #[test]
    fn waiting_is_pending_and_a_new_reader_gets_what_the_old_one_asked_for() {
        let gate = Gate::default();
        let source = StdinSource::of(Pieces(vec![b"one\ntw", b"o\n"]));
        let context = || ReaderContext { io: gate.io(), ..testing::context(10) };
        let mut out = Batch::default();
        {
            let mut reader = source.reader(source.discover(1).unwrap(), context()).unwrap();
            assert!(reader.next(&mut out).now_or_never().is_none());
            assert!(gate.release());
            assert_eq!(reader.next(&mut out).now_or_never().unwrap().unwrap(), Progress::More);
            assert!(reader.next(&mut out).now_or_never().is_none());
        }
        let mut reader = source.reader(source.discover(1).unwrap(), context()).unwrap();
        assert!(reader.next(&mut out).now_or_never().is_none());
        while gate.release() {}
        block_on(reader.next(&mut out)).unwrap();
        assert_eq!(out.values, ["one", "two"]);
        assert!(!source.replayable());
    }

    #[test]
    fn a_bad_line_is_named() {
        let source = StdinSource::of(Pieces(vec![b"fine\nb\xffd\n"]));
        let mut reader = source.reader(source.discover(1).unwrap(), testing::context(1)).unwrap();
        let mut out = Batch::default();
        block_on(reader.next(&mut out)).unwrap();
        assert_eq!(
            block_on(reader.next(&mut out)).unwrap_err().to_string(),
            "cannot read standard input, line 2 (byte 5): not UTF-8 from its byte 1 on"
        );
    }
}
