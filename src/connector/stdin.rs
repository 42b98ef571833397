//! Standard input as a source of lines. It cannot be replayed.
//!
//! What was read and not yet given out belongs to the source, not to a reader: a restart in the same
//! process goes on with it, even with a read that the reader before had begun. What had been given
//! out after the last checkpoint is lost then, which is what *not replayable* means.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, PoisonError};

use futures::future::LocalBoxFuture;
use memchr::memchr;

use super::file::{
    Aside, Bad, Cut, DeadLetter, Lines, MAX_LINE, OnError, Parsed, Parser, Route, cut, long_reason,
};
use super::{Progress, Reader, ReaderContext, Source, SplitState};
use crate::error::{Error, ErrorKind, Result};
use crate::io::Io;
use crate::record::{Batch, Origin};
use crate::sync::{Mutex, MutexGuard, Notify};

/// How much one read asks for, in bytes.
const CHUNK: usize = 64 << 10;
const SPLIT: &str = "stdin";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Lines of standard input, up to its end.
///
/// CRLF and a byte-order mark are accepted; the last line needs no newline. A line that cannot be read is
/// an error with its number, byte and reason, unless [`on_error`](Self::on_error) or
/// [`with_dead_letters`](Self::with_dead_letters) says otherwise.
#[derive(Clone)]
pub struct StdinSource {
    pump: Arc<Pump>,
    max_line: usize,
    on_error: OnError,
}

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
    /// The rest of a line that is too long is on its way: it is not kept.
    passing_over: bool,
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
        let pump = Pump {
            input: Mutex::new(Box::new(input)),
            state: Mutex::default(),
            arrived: Notify::new(),
        };
        Self { pump: Arc::new(pump), max_line: MAX_LINE, on_error: OnError::default() }
    }

    /// What becomes of a line that cannot be read. Default: [`OnError::Fail`].
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// Sends lines that cannot be read along as [`DeadLetter`]s, which the graph can split off.
    pub fn with_dead_letters(self) -> StdinWithDeadLetters {
        StdinWithDeadLetters(self)
    }

    /// Longest line, in bytes without its end; what is longer cannot be read, and is never held in
    /// memory. Default: 1 MiB.
    #[must_use]
    pub fn max_line_length(self, bytes: usize) -> Self {
        Self { max_line: bytes, ..self }
    }

    fn read<R: Route<String>>(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
        route: R,
    ) -> Box<dyn Reader<R::Out>> {
        let pump = Arc::clone(&self.pump);
        Box::new(StdinReader { pump, splits, context, route, max_line: self.max_line })
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
        Ok(self.read(splits, context, self.on_error))
    }
}

/// A [`StdinSource`] that gives out what it cannot read, too.
#[derive(Clone, Debug)]
pub struct StdinWithDeadLetters(StdinSource);

impl Source for StdinWithDeadLetters {
    type Item = Result<String, DeadLetter>;

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn replayable(&self) -> bool {
        self.0.replayable()
    }

    fn bounded(&self) -> bool {
        self.0.bounded()
    }

    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>> {
        self.0.discover(parallelism)
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        self.0.check(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<Self::Item>>> {
        Ok(self.0.read(splits, context, Aside))
    }
}

struct StdinReader<R> {
    pump: Arc<Pump>,
    splits: Vec<SplitState>,
    context: ReaderContext,
    route: R,
    max_line: usize,
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

/// A line, or why there is none.
struct Line {
    /// The offset of its first byte.
    byte: u64,
    text: Result<String, DeadLetter>,
    /// What goes with it, in bytes and newlines.
    next: usize,
    newlines: u64,
    /// More of it is to come, which counts for nothing.
    overlong: bool,
}

impl State {
    /// The next line, which [`State::take`] takes; `None`: it is not there yet.
    fn line(&mut self, max_line: usize) -> Option<Line> {
        if !self.pass_over() {
            return None;
        }
        let rest = &self.data[self.at..];
        let byte = self.base + self.at as u64;
        let bad = |raw: &[u8], reason| {
            let file = "standard input".to_owned();
            Err(DeadLetter::of(file, self.lines + 1, byte, reason, raw))
        };
        if rest.is_empty() {
            return None;
        }
        let (text, next, newlines, overlong) = match cut(&Lines, rest, self.ended, max_line) {
            Cut::Record { end, next, newlines } => {
                let text = match Lines.parse(&rest[..end]) {
                    Parsed::Item(text) => Ok(text),
                    Parsed::Bad(reason) | Parsed::Hopeless(reason) => bad(&rest[..end], reason),
                    Parsed::Blank => bad(b"", "no line".to_owned()),
                };
                (text, next, newlines, false)
            }
            Cut::Broken { shown, next, newlines, reason } => {
                (bad(&rest[..shown], reason), next, newlines, false)
            }
            Cut::Starved => return None,
            Cut::Overlong { shown } => {
                (bad(&rest[..shown], long_reason(max_line)), rest.len(), 0, true)
            }
        };
        Some(Line { byte, text, next, newlines, overlong })
    }

    fn take(&mut self, next: usize, newlines: u64, overlong: bool) {
        self.at += next;
        self.lines += newlines;
        self.passing_over = overlong;
    }

    /// Passes over a byte-order mark, and over what is left of a line that is too long; false: more of it
    /// may come.
    fn pass_over(&mut self) -> bool {
        let rest = &self.data[self.at..];
        if self.passing_over {
            let newline = memchr(b'\n', rest);
            let next = newline.map_or(rest.len(), |at| at + 1);
            self.take(next, u64::from(newline.is_some()), newline.is_none());
            return newline.is_some();
        }
        if self.base == 0 && self.at == 0 {
            if rest.starts_with(BYTE_ORDER_MARK) {
                self.at = BYTE_ORDER_MARK.len();
            } else if BYTE_ORDER_MARK.starts_with(rest) {
                return self.ended;
            }
        }
        true
    }

    /// Forgets what was given out.
    fn compact(&mut self) {
        self.base += self.at as u64;
        self.data.drain(..self.at);
        self.at = 0;
    }
}

impl<R: Route<String>> StdinReader<R> {
    /// Appends the lines that are there; how many were read, bad ones included.
    fn fill(&self, out: &mut Batch<R::Out>) -> Result<usize> {
        let mut state = self.pump.state();
        let mut taken = 0;
        while taken < self.context.batch_size {
            let Some(Line { byte, text, next, newlines, overlong }) = state.line(self.max_line)
            else {
                break;
            };
            let value = match text {
                Ok(text) => Some(self.route.item(text)),
                Err(letter) => match self.route.letter(letter) {
                    Bad::Fail(error) => return Err(error),
                    Bad::Skip => {
                        self.context.metrics.add_records_skipped(1);
                        None
                    }
                    Bad::GiveOut(value) => {
                        self.context.metrics.add_records_dead_lettered(1);
                        Some(value)
                    }
                },
            };
            state.take(next, newlines, overlong);
            taken += 1;
            let Some(value) = value else { continue };
            out.values.push(value);
            if self.context.with_origin {
                out.origins.push(Origin { split: Arc::from(SPLIT), position: byte });
            }
        }
        if taken < self.context.batch_size {
            state.compact();
        }
        Ok(taken)
    }
}

impl<R: Route<String>> Reader<R::Out> for StdinReader<R> {
    fn next<'a>(&'a mut self, out: &'a mut Batch<R::Out>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            loop {
                if self.splits.iter().all(|s| s.done) {
                    return Ok(Progress::End);
                }
                if self.fill(out)? > 0 {
                    return Ok(Progress::More);
                }
                let (ended, failed) = {
                    let state = self.pump.state();
                    (state.ended, state.failed.clone())
                };
                if let Some(reason) = failed {
                    let message = format!(
                        "cannot read standard input: {reason}; give it a file or a pipe that can be read, \
                         and run the job again"
                    );
                    return Err(Error::new(ErrorKind::Input, message));
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

    /// Of these bytes, so many at a time: the lines that can be read, and what the others are.
    fn read(bytes: &[u8], at_a_time: usize) -> Vec<Result<String, DeadLetter>> {
        let source = StdinSource::of(Slow(std::io::Cursor::new(bytes.to_vec()), at_a_time));
        let source = source.max_line_length(20).with_dead_letters();
        drain(&source, source.discover(1).unwrap(), 4).values
    }

    /// What a run that fails or skips gives out.
    fn told(bytes: &[u8], on_error: OnError) -> (Vec<String>, Option<String>, u64) {
        let source = StdinSource::of(Slow(std::io::Cursor::new(bytes.to_vec()), 11));
        let source = source.max_line_length(20).on_error(on_error);
        let context = testing::context(4);
        let metrics = context.metrics.clone();
        let mut reader = source.reader(source.discover(1).unwrap(), context).unwrap();
        let mut out = Batch::default();
        let error = loop {
            match block_on(reader.next(&mut out)) {
                Ok(Progress::More) => {}
                Ok(Progress::End) => break None,
                Err(e) => break Some(e.to_string()),
            }
        };
        (out.values, error, metrics.snapshot().records_skipped)
    }

    #[test]
    fn any_bytes_are_lines_or_errors() {
        let target = crate::fuzzing::Target::new("stdin").seed("one\ntwo\r\n\nthree");
        target.tokens(&["\r\n", "\n", "\u{feff}"]).memory(16 << 20).run(|bytes| {
            let whole = read(bytes, usize::MAX);
            let slowly = read(bytes, 1 + bytes.len() / 7);
            assert!(whole == slowly, "in pieces: {slowly:.300?}");
            let good: Vec<_> = whole.iter().flatten().cloned().collect();
            let bad = whole.len() - good.len();
            assert_eq!(told(bytes, OnError::Skip), (good.clone(), None, bad as u64));
            let (before, error, _) = told(bytes, OnError::Fail);
            assert!(good.starts_with(&before) && error.is_some() == (bad > 0), "{error:?}");
            format!("{whole:?}")
        });
    }

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        let source = StdinSource::of(Pieces(vec![b"\xef\xbb\xbfa", b"b\r", b"\n\nc", b"d"]));
        let batch = drain(&source, source.discover(4).unwrap(), 10);
        assert_eq!(batch.values, ["ab", "", "cd"]);
        assert_eq!(batch.origins.iter().map(|o| o.position).collect::<Vec<_>>(), [3, 7, 8]);
    }

    #[test]
    fn a_batch_of_long_lines_ends_after_what_a_read_has_brought() {
        let text = [&b"x".repeat(10 << 10)[..], b"\n"].concat().repeat(64);
        let source = StdinSource::of(std::io::Cursor::new(text));
        let mut reader =
            source.reader(source.discover(1).unwrap(), testing::context(1024)).unwrap();
        let (mut records, mut out) = (0, Batch::default());
        while block_on(reader.next(&mut out)).unwrap() == Progress::More {
            let bytes: usize = out.values.iter().map(String::len).sum();
            assert!(bytes <= CHUNK + (10 << 10), "{bytes}");
            records += out.values.len();
            out = Batch::default();
        }
        assert_eq!(records, 64);
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
        let (values, error, _) = told(b"fine\nb\xffd\nnever\n", OnError::Fail);
        assert_eq!(values, ["fine"]);
        assert_eq!(
            error.unwrap(),
            "cannot read standard input, line 2 (byte 5): not UTF-8 from its byte 1 on; on_error can skip \
             such lines (--on-error skip) or send them aside (--on-error dead-letter=FOLDER)"
        );
    }

    #[test]
    fn what_is_too_long_is_one_line_whatever_follows_and_the_next_keeps_its_number() {
        let bytes = b"\xef\xbb\xbf0123456789012345678901234567890123456789\nfine\n\xff\n01234567890123456789\r\n";
        let (values, error, skipped) = told(bytes, OnError::Skip);
        assert_eq!((error, skipped), (None, 2));
        assert_eq!(values, ["fine", "01234567890123456789"]);
        let letters: Vec<_> = read(bytes, 25).into_iter().filter_map(Result::err).collect();
        assert_eq!(letters.iter().map(|l| (l.line, l.byte)).collect::<Vec<_>>(), [(1, 3), (3, 49)]);
        assert_eq!(letters[0].reason, "longer than max_line_length (20 bytes)");
    }

    /// Which bytes they were used to be lost.
    #[test]
    fn a_dead_letter_keeps_bytes_that_are_no_text() {
        let bytes = b"fine\nb\xffd\n0123456789\xe9123456789012\n01234567890123456789012\n";
        let letters: Vec<_> = read(bytes, 25).into_iter().filter_map(Result::err).collect();
        let kept: Vec<_> = letters.iter().map(|l| (l.raw.as_str(), l.raw_hex.as_deref())).collect();
        // Of what is too long, what is shown.
        let cut = "30313233343536373839e9313233343536373839";
        assert_eq!(
            kept,
            [
                ("b\u{fffd}d", Some("62ff64")),
                ("0123456789\u{fffd}123456789", Some(cut)),
                ("01234567890123456789", None)
            ]
        );
    }

    #[test]
    fn a_line_without_end_is_an_error_before_its_end() {
        let source = StdinSource::of(std::io::repeat(b'x'));
        let mut reader = source.reader(source.discover(1).unwrap(), testing::context(1)).unwrap();
        let error = block_on(reader.next(&mut Batch::default())).unwrap_err();
        assert!(error.to_string().contains("line 1 (byte 0): longer than"), "{error}");
    }
}
