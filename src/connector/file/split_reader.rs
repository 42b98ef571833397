//! Reads one split: frames and parses records, keeps its position and line number.
//!
//! Owns what a bad or overlong record does to the position. Does not know other splits, rates or
//! waiting for a followed file to grow: those are `reader`'s.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use memchr::memchr;

use super::bad::{Bad, DeadLetter, Route};
use super::block::Block;
use super::cut::{Cut, cut, long_reason};
use super::format::{Format, Parsed, Parser};
use super::inputs::Inputs;
use super::open::{Opened, hopeless, open};
use super::split::Split;
use super::tail::Tail;
use crate::error::{Error, Result};
use crate::io::Io;
use crate::metrics::Metrics;
use crate::record::{Batch, Origin};

/// What all split readers of one reader share.
pub(super) struct Shared<F, R> {
    pub(super) inputs: Inputs,
    pub(super) format: F,
    pub(super) route: R,
    pub(super) max_line: usize,
    pub(super) chunk: u64,
    pub(super) io: Io,
    pub(super) metrics: Metrics,
    pub(super) with_origin: bool,
}

/// What became of one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// So many records were read, bad ones included; there may be more.
    Records(usize),
    /// So many records were read, and the split is at its end.
    Done(usize),
    /// The file is followed, and nothing more is in it at present.
    Idle,
}

/// Why parsing stopped.
enum Stop {
    Budget,
    Starved,
    Done,
    /// A bad line's number is wanted: count the newlines before this byte first.
    Count(u64),
}

enum Stage<P> {
    Closed,
    Opening(BoxFuture<'static, Result<Option<Opened<P>>>>),
    Open(Box<Open<P>>),
}

struct Open<P> {
    parser: P,
    block: Block,
    /// The line under way belongs to the split before: skip it.
    align: bool,
    overlong: Option<Overlong>,
}

/// A line that is too long, while its end is looked for: it is not kept.
struct Overlong {
    start: u64,
    /// What stands before `start`.
    tail: Tail,
    raw: Vec<u8>,
}

/// One split and the open file behind it.
pub(super) struct SplitReader<P> {
    split: Split,
    id: Arc<str>,
    stage: Stage<P>,
    counting: Option<BoxFuture<'static, Result<u64>>>,
}

impl<P: Parser> SplitReader<P> {
    pub(super) fn new(split: Split) -> Self {
        let id = Arc::from(split.id());
        Self { split, id, stage: Stage::Closed, counting: None }
    }

    pub(super) fn done(&self) -> bool {
        self.split.done
    }

    pub(super) fn followed(&self) -> bool {
        self.split.end.is_none()
    }

    /// The split, at the byte after the last record that was given out.
    pub(super) fn state(&self) -> Split {
        let mut split = self.split.clone();
        if let Stage::Open(open) = &self.stage
            && !open.align
        {
            split.position = self.position();
            split.tail = open.overlong.as_ref().map_or_else(|| open.block.tail(), |o| o.tail);
        }
        split
    }

    fn position(&self) -> u64 {
        match &self.stage {
            Stage::Open(open) if !open.align => {
                open.overlong.as_ref().map_or_else(|| open.block.buffer.offset(), |o| o.start)
            }
            _ => self.split.position,
        }
    }

    /// Bytes between the position and the end, as far as it is known.
    pub(super) fn lag(&self) -> u64 {
        let known = match &self.stage {
            Stage::Open(open) => open.block.length(),
            _ => self.split.length,
        };
        let end = self.split.end.unwrap_or(known);
        if self.done() { 0 } else { end.saturating_sub(self.position()) }
    }

    /// Appends at most `budget` records to `out`; waits only while there are none. May be dropped
    /// while it waits.
    pub(super) async fn fill<F, R>(
        &mut self,
        shared: &Shared<F, R>,
        out: &mut Batch<R::Out>,
        budget: usize,
    ) -> Result<Filled>
    where
        F: Format<Item = P::Item, Parser = P>,
        R: Route<P::Item>,
    {
        if !self.open(shared).await? {
            return Ok(Filled::Idle);
        }
        let mut taken = 0;
        loop {
            let stop = self.parse(shared, out, budget, &mut taken)?;
            let Stage::Open(open) = &mut self.stage else {
                return Err(Error::internal("a split that is read is not open"));
            };
            match stop {
                Stop::Count(before) => {
                    let lines = self.count(shared, before).await?;
                    self.split.lines = Some(lines);
                }
                Stop::Done => {
                    self.split = Split { done: true, ..self.state() };
                    self.stage = Stage::Closed;
                    return Ok(Filled::Done(taken));
                }
                Stop::Budget => return Ok(Filled::Records(taken)),
                Stop::Starved if taken > 0 => {
                    open.block.read_ahead();
                    return Ok(Filled::Records(taken));
                }
                Stop::Starved => {
                    if open.block.more().await? == 0 {
                        return Ok(Filled::Idle);
                    }
                }
            }
        }
    }

    /// Opens the file where it is not open; false: a followed one has no header yet.
    async fn open<F, R>(&mut self, shared: &Shared<F, R>) -> Result<bool>
    where
        F: Format<Item = P::Item, Parser = P>,
    {
        if let Stage::Closed = self.stage {
            let (inputs, split) = (shared.inputs.clone(), self.split.clone());
            let (format, max_line) = (shared.format.clone(), shared.max_line);
            let opening = shared.io.blocking(move || open(&inputs, &split, &format, max_line));
            self.stage = Stage::Opening(opening.boxed());
        }
        if let Stage::Opening(opening) = &mut self.stage {
            let opened = opening.await;
            self.stage = Stage::Closed;
            let Some(opened) = opened? else { return Ok(false) };
            self.opened(opened, &shared.io, shared.chunk);
        }
        Ok(true)
    }

    fn opened(&mut self, opened: Opened<P>, io: &Io, chunk: u64) {
        let Opened { handle, parser, records_at, tail, lines } = opened;
        let align = self.split.position < self.split.start;
        if !align && self.split.position < records_at {
            self.split.position = records_at;
            self.split.tail = tail;
            self.split.lines = Some(lines);
        }
        let mut block = Block::new(handle, io.clone(), &self.split, chunk);
        block.read_ahead();
        self.stage = Stage::Open(Box::new(Open { parser, block, align, overlong: None }));
    }

    /// The number of newlines before `before`, by reading the file up to there: only bad lines of
    /// ranges that do not begin their file need it, and each range once.
    async fn count<F, R>(&mut self, shared: &Shared<F, R>, before: u64) -> Result<u64> {
        let counting = self.counting.get_or_insert_with(|| {
            let (inputs, place) = (shared.inputs.clone(), self.split.place.clone());
            let count = move || {
                inputs
                    .open(&place)?
                    .newlines_before(before)
                    .map_err(|e| Error::io("read", std::path::Path::new(&place.to_string()), e))
            };
            shared.io.blocking(count).boxed()
        });
        let lines = counting.await;
        self.counting = None;
        lines
    }

    /// Parses what is in the buffer.
    fn parse<F, R>(
        &mut self,
        shared: &Shared<F, R>,
        out: &mut Batch<R::Out>,
        budget: usize,
        taken: &mut usize,
    ) -> Result<Stop>
    where
        F: Format<Item = P::Item, Parser = P>,
        R: Route<P::Item>,
    {
        let Self { split, id, stage: Stage::Open(open), .. } = self else {
            return Ok(Stop::Starved);
        };
        let mut give = Give { split, id, shared, out };
        while *taken < budget {
            if let Some(stop) = open.step(&mut give)? {
                return Ok(stop);
            }
            *taken += 1;
        }
        Ok(Stop::Budget)
    }
}

/// Where records go, and the split whose line number moves with them.
struct Give<'a, F, R: Route<F::Item>>
where
    F: Format,
{
    split: &'a mut Split,
    id: &'a Arc<str>,
    shared: &'a Shared<F, R>,
    out: &'a mut Batch<R::Out>,
}

impl<F: Format, R: Route<F::Item>> Give<'_, F, R> {
    #[inline]
    fn value(&mut self, value: R::Out, position: u64) {
        self.out.values.push(value);
        if self.shared.with_origin {
            self.out.origins.push(Origin { split: Arc::clone(self.id), position });
        }
    }

    #[inline]
    fn advance(&mut self, newlines: u64) {
        if let Some(lines) = &mut self.split.lines {
            *lines += newlines;
        }
    }

    /// Rejects the line at `byte`, or asks for its number first.
    #[cold]
    fn bad(&mut self, byte: u64, raw: &[u8], reason: String) -> Result<Option<Stop>> {
        let Some(lines) = self.split.lines else { return Ok(Some(Stop::Count(byte))) };
        let file = self.split.place.to_string();
        let letter = DeadLetter::of(file, lines + 1, byte, reason, raw);
        match self.shared.route.letter(letter) {
            Bad::Fail(error) => return Err(error),
            Bad::Skip => self.shared.metrics.add_records_skipped(1),
            Bad::GiveOut(letter) => {
                self.shared.metrics.add_records_dead_lettered(1);
                self.value(letter, byte);
            }
        }
        Ok(None)
    }
}

impl<P: Parser> Open<P> {
    /// Takes one record, or says why not. Nothing is consumed where it stops.
    #[inline]
    fn step<F, R>(&mut self, give: &mut Give<'_, F, R>) -> Result<Option<Stop>>
    where
        F: Format<Item = P::Item, Parser = P>,
        R: Route<P::Item>,
    {
        if self.overlong.is_some() || self.align {
            return self.pass_over(give);
        }
        let start = self.block.buffer.offset();
        let last = self.block.at_end();
        let rest = self.block.buffer.rest();
        if give.split.end.is_some_and(|end| start >= end) || (rest.is_empty() && last) {
            return Ok(Some(Stop::Done));
        }
        if rest.is_empty() {
            return Ok(Some(Stop::Starved));
        }
        let max_line = give.shared.max_line;
        let (next, newlines) = match cut(&give.shared.format, rest, last, max_line) {
            Cut::Record { end, next, newlines } => {
                match self.parser.parse(&rest[..end]) {
                    Parsed::Item(item) => give.value(give.shared.route.item(item), start),
                    Parsed::Blank => {}
                    Parsed::Hopeless(reason) => return Err(hopeless(give.split, &reason)),
                    Parsed::Bad(reason) => {
                        if let Some(stop) = give.bad(start, &rest[..end], reason)? {
                            return Ok(Some(stop));
                        }
                    }
                }
                (next, newlines)
            }
            Cut::Broken { shown: end, next, newlines, reason } => {
                if let Some(stop) = give.bad(start, &rest[..end], reason)? {
                    return Ok(Some(stop));
                }
                (next, newlines)
            }
            Cut::Starved => return Ok(Some(Stop::Starved)),
            Cut::Overlong { shown } => {
                let (tail, raw) = (self.block.tail(), rest[..shown].to_vec());
                self.overlong = Some(Overlong { start, tail, raw });
                return Ok(None);
            }
        };
        give.advance(newlines);
        self.block.buffer.consume(next);
        Ok(None)
    }

    /// Passes over the rest of a line: one that is too long, which is then rejected, or one of the
    /// split before.
    #[cold]
    fn pass_over<F, R>(&mut self, give: &mut Give<'_, F, R>) -> Result<Option<Stop>>
    where
        F: Format<Item = P::Item, Parser = P>,
        R: Route<P::Item>,
    {
        let last = self.block.at_end();
        let rest = self.block.buffer.rest();
        let newline = memchr(b'\n', rest);
        if newline.is_none() && !last {
            let n = rest.len();
            self.block.buffer.consume(n);
            let begun = self.block.buffer.offset();
            let none_left = self.align && give.split.end.is_some_and(|end| begun >= end);
            return Ok(Some(if none_left { Stop::Done } else { Stop::Starved }));
        }
        let next = newline.map_or(rest.len(), |at| at + 1);
        if let Some(long) = &self.overlong {
            let reason = long_reason(give.shared.max_line);
            if let Some(stop) = give.bad(long.start, &long.raw, reason)? {
                return Ok(Some(stop));
            }
            give.advance(u64::from(newline.is_some()));
        }
        self.block.buffer.consume(next);
        self.overlong = None;
        self.align = false;
        Ok(None)
    }
}
