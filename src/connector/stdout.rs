//! Standard output as a sink: whole lines, at least once. Where a write ends in the midst of a line is `output`'s.

mod output;

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::{BoxFuture, LocalBoxFuture};
use output::Output;
use serde::Serialize;

use super::spool::{Spool, Target};
use super::{Committable, Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};

/// Records as lines on standard output. A crash can make lines appear again.
pub struct StdoutSink<F> {
    output: Arc<Output>,
    format: PhantomData<fn() -> F>,
}

/// A record as a line of JSON.
#[derive(Clone, Copy, Debug)]
pub struct AsJson;

/// A record as its `Display` text.
#[derive(Clone, Copy, Debug)]
pub struct AsText;

/// Writes a record as a line.
pub trait LineFormat<T>: 'static {
    /// Its name.
    const NAME: &'static str;

    /// Appends the line of `record`, without its end.
    ///
    /// # Errors
    /// The record cannot be written in this format.
    fn line(record: &T, out: &mut Vec<u8>) -> Result<()>;
}

impl<T: Serialize> LineFormat<T> for AsJson {
    const NAME: &'static str = "JSON lines";

    fn line(record: &T, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        serde_json::to_writer(&mut *out, record).map_err(|e| {
            let message = format!(
                "a record has no JSON form: {e}, after {}; keys of maps have to be texts, numbers or \
                 booleans: give its type such a form, or map it to another one before the sink",
                shown(&out[begin..])
            );
            Error::new(ErrorKind::Output, message).with_source(e)
        })
    }
}

/// The beginning of a record's text, for messages.
pub(super) fn shown(text: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = if text.len() > MOST { "…" } else { "" };
    format!("{}{cut}", String::from_utf8_lossy(&text[..text.len().min(MOST)]))
}

impl<T: fmt::Display> LineFormat<T> for AsText {
    const NAME: &'static str = "text";

    fn line(record: &T, out: &mut Vec<u8>) -> Result<()> {
        write!(out, "{record}")
            .map_err(|_| Error::new(ErrorKind::Output, "a record's Display failed".to_owned()))
    }
}

impl StdoutSink<AsJson> {
    /// One JSON value a line.
    #[must_use]
    pub fn json_lines() -> Self {
        Self::to(Output::standard())
    }
}

impl StdoutSink<AsText> {
    /// Each record's `Display` text.
    #[must_use]
    pub fn text() -> Self {
        Self::to(Output::standard())
    }
}

impl<F> StdoutSink<F> {
    fn to(output: Arc<Output>) -> Self {
        Self { output, format: PhantomData }
    }
}

impl<F> Clone for StdoutSink<F> {
    fn clone(&self) -> Self {
        Self::to(Arc::clone(&self.output))
    }
}

impl<F> fmt::Debug for StdoutSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutSink")
    }
}

impl<T: 'static, F: LineFormat<T>> Sink<T> for StdoutSink<F> {
    fn describe(&self) -> String {
        format!("standard output ({}, at least once: lines may come again after a crash)", F::NAME)
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn prepare(&self, _run: &RunIdentity) -> Result<()> {
        self.output.look();
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        let out = Out { writer: self.output.open(), output: Arc::clone(&self.output) };
        let spool = Spool::new(out, context.io);
        Ok(Box::new(StdoutWriter::<F> { spool, format: PhantomData }))
    }

    fn committer(&self, _operator: &Name) -> Option<Box<dyn Committer>> {
        None
    }
}

struct Out {
    writer: Box<dyn Write + Send>,
    output: Arc<Output>,
}

impl Target for Out {
    /// Chunks are whole lines, written in one go: lines of several subtasks do not mix.
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.output.write(&mut *self.writer, chunk).map_err(|e| {
            let (kind, message) = match e.kind() {
                io::ErrorKind::BrokenPipe => (
                    ErrorKind::Closed,
                    "standard output was closed by its reader (broken pipe)".to_owned(),
                ),
                _ => (ErrorKind::Io, format!("cannot write to standard output: {e}")),
            };
            Error::new(kind, message).with_source(e)
        })
    }
}

struct StdoutWriter<F> {
    spool: Spool<Out>,
    format: PhantomData<fn() -> F>,
}

impl<T, F: LineFormat<T>> Writer<T> for StdoutWriter<F> {
    fn write(&mut self, batch: &mut Vec<T>) -> Result<()> {
        let mut lines = Vec::new();
        for record in batch.drain(..) {
            F::line(&record, &mut lines)?;
            lines.push(b'\n');
        }
        self.spool.push(lines)
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.spool.ready())
    }

    fn snapshot(&mut self, _: CheckpointId) -> BoxFuture<'static, Result<Vec<Committable>>> {
        self.spool.then(|_| Ok(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{self, Gate, block_on};
    use crate::ids::{Attempt, Incarnation};
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is opened by `open` and shows nothing of what is there.
    fn pipe(open: impl Fn() -> Box<dyn Write + Send> + Send + Sync + 'static) -> Arc<Output> {
        let look = || -> io::Result<std::fs::File> { Err(io::ErrorKind::Unsupported.into()) };
        Arc::new(Output::new(Arc::new(open), Box::new(look)))
    }

    /// A disk that takes so many bytes more.
    #[derive(Clone, Default)]
    struct Disk {
        held: Screen,
        room: Arc<Mutex<usize>>,
    }

    impl Disk {
        /// With `room` for so much, what comes of writing `numbers` as one chunk.
        fn take(&self, sink: &StdoutSink<AsText>, room: usize, numbers: &[u32]) -> Result<()> {
            *self.room.lock().unwrap() = room;
            let mut writer = Sink::<u32>::writer(sink, testing::writer_context(1, 0))?;
            writer.write(&mut numbers.to_vec())?;
            block_on(writer.snapshot(CheckpointId(1))).map(drop)
        }

        fn text(&self) -> String {
            String::from_utf8(self.held.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let written = bytes.len().min(*room);
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            *room -= written;
            self.held.write(&bytes[..written])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_snapshot_ends_when_all_lines_are_out() {
        let (screen, gate) = (Screen::default(), Gate::default());
        let shown = screen.clone();
        let sink = StdoutSink::<AsText>::to(pipe(move || Box::new(screen.clone())));
        let context = WriterContext { io: gate.io(), ..testing::writer_context(1, 0) };
        let mut writer = Sink::<u32>::writer(&sink, context).unwrap();
        writer.write(&mut vec![1, 2]).unwrap();
        writer.write(&mut vec![3]).unwrap();
        let snapshot = writer.snapshot(CheckpointId(1));
        while gate.release_newest() {}
        assert_eq!(block_on(snapshot).unwrap(), []);
        assert_eq!(*shown.0.lock().unwrap(), b"1\n2\n3\n");
    }

    #[test]
    fn json_lines_are_whole_and_the_promise_is_said() {
        let screen = Screen::default();
        let shown = screen.clone();
        let sink = StdoutSink::<AsJson>::to(pipe(move || Box::new(screen.clone())));
        let mut writer = sink.writer(testing::writer_context(1, 0)).unwrap();
        writer.write(&mut vec![("a\nb", 1)]).unwrap();
        assert_eq!(*shown.0.lock().unwrap(), b"[\"a\\nb\",1]\n");
        assert!(Sink::<u32>::describe(&sink).contains("at least once"));
        assert_eq!(Sink::<u32>::guarantee(&sink), Guarantee::AtLeastOnce);
    }

    #[test]
    fn a_broken_pipe_is_a_clear_error() {
        let sink = StdoutSink::<AsText>::to(pipe(|| Box::new(Closed)));
        let mut writer = Sink::<u32>::writer(&sink, testing::writer_context(1, 0)).unwrap();
        // The write itself runs beside the worker: its failure shows at the next call at the latest.
        let _ = writer.write(&mut vec![1]);
        let error = block_on(writer.snapshot(CheckpointId(1))).unwrap_err();
        assert_eq!(error.message(), "standard output was closed by its reader (broken pipe)");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    /// The next line used to go on where the torn one had ended.
    #[test]
    fn what_follows_a_torn_line_begins_on_its_own() {
        let disk = Disk::default();
        let opened = disk.clone();
        let sink = StdoutSink::<AsText>::to(pipe(move || Box::new(opened.clone())));
        let error = disk.take(&sink, 6, &[100, 200]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(disk.text(), "100\n20");
        // Another attempt, which has no room for the end of the line even.
        disk.take(&sink.clone(), 0, &[100, 200]).unwrap_err();
        disk.take(&sink.clone(), 99, &[100, 200]).unwrap();
        assert_eq!(disk.text(), "100\n20\n100\n200\n");
        disk.take(&sink, 99, &[300]).unwrap();
        assert_eq!(disk.text(), "100\n20\n100\n200\n300\n");
    }

    #[test]
    fn a_write_that_ends_with_a_line_or_never_began_leaves_no_empty_one() {
        let disk = Disk::default();
        let opened = disk.clone();
        let sink = StdoutSink::<AsText>::to(pipe(move || Box::new(opened.clone())));
        disk.take(&sink, 0, &[100]).unwrap_err();
        disk.take(&sink, 4, &[100, 200]).unwrap_err();
        disk.take(&sink, 99, &[200]).unwrap();
        assert_eq!(disk.text(), "100\n200\n");
    }

    /// What another process sees half done may be a write of this one: an empty line used to come of it.
    #[test]
    fn who_has_written_does_not_look_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let look = {
            let path = path.clone();
            Box::new(move || std::fs::File::open(&path))
        };
        let disk = Disk::default();
        let opened = disk.clone();
        let output = Output::new(Arc::new(move || Box::new(opened.clone())), look);
        let sink = StdoutSink::<AsText>::to(Arc::new(output));
        disk.take(&sink, 99, &[1]).unwrap();
        std::fs::write(&path, "half").unwrap();
        Sink::<u32>::prepare(&sink, &run()).unwrap();
        disk.take(&sink, 99, &[2]).unwrap();
        assert_eq!(disk.text(), "1\n2\n");
    }

    fn run() -> RunIdentity {
        RunIdentity {
            job: Name::new("job").unwrap(),
            incarnation: Incarnation(1),
            attempt: Attempt(1),
            owner: String::new(),
            fresh: true,
            added: false,
            replace: false,
        }
    }

    /// The line used to go on where the process before had been killed.
    #[test]
    fn a_file_that_ends_in_a_torn_line_is_gone_on_with_on_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        for (left, expected) in [("", "7\n"), ("1\n", "1\n7\n"), ("1\n{\"ha", "1\n{\"ha\n7\n")] {
            std::fs::write(&path, left).unwrap();
            let appends = {
                let path = path.clone();
                move || std::fs::OpenOptions::new().append(true).open(&path)
            };
            let (open, look) = (appends.clone(), Box::new(appends));
            let output = Output::new(Arc::new(move || Box::new(open().unwrap())), look);
            let sink = StdoutSink::<AsText>::to(Arc::new(output));
            // Once for each attempt.
            Sink::<u32>::prepare(&sink, &run()).unwrap();
            Sink::<u32>::prepare(&sink, &run()).unwrap();
            let mut writer = Sink::<u32>::writer(&sink, testing::writer_context(1, 0)).unwrap();
            writer.write(&mut vec![7]).unwrap();
            block_on(writer.snapshot(CheckpointId(1))).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        }
    }
}
