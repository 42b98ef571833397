//! What a chain can end in: an exchange, a forward channel, a sink, a fork.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::output::{Consumer, Output, Staged, Tail};
use crate::codec::Key;
use crate::connector::Writer;
use crate::error::Result;
use crate::exchange::{KeyRouter, Outlet};
use crate::ids::Name;
use crate::metrics::Metrics;
use crate::record::{Barrier, Element};

/// Keys each record and sends it to the owner of the key.
pub struct KeyedTail<K: Key, T, F> {
    key_of: Arc<F>,
    router: KeyRouter<K, T>,
}

impl<K: Key, T, F: Fn(&T) -> K> KeyedTail<K, T, F> {
    /// Routes by `key_of` over `router`.
    pub fn new(key_of: Arc<F>, router: KeyRouter<K, T>) -> Self {
        Self { key_of, router }
    }
}

impl<K: Key, T, F> fmt::Debug for KeyedTail<K, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedTail")
    }
}

impl<K: Key, T, F: Fn(&T) -> K> Tail<T> for KeyedTail<K, T, F> {
    #[inline]
    fn take(&mut self, records: impl Iterator<Item = T>) -> Result<()> {
        let key_of = &*self.key_of;
        self.router.push(records.map(|record| (key_of(&record), record)));
        self.router.send_full();
        Ok(())
    }
}

impl<K: Key, T, F> Output for KeyedTail<K, T, F> {
    fn flush(&mut self) -> Result<()> {
        self.router.flush();
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.router.is_ready()
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.router.ready().map(Ok))
    }

    fn barrier(&mut self, barrier: Barrier, _: &mut Vec<Staged>) -> Result<()> {
        self.router.barrier(barrier);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.router.end();
        Ok(())
    }
}

/// Sends each record to every subtask, over one channel each and so in one order.
#[derive(Debug)]
pub struct BroadcastTail<T>(Vec<Outlet<T>>);

impl<T> BroadcastTail<T> {
    /// Broadcasts over `outlets`.
    pub fn new(outlets: Vec<Outlet<T>>) -> Self {
        Self(outlets)
    }
}

impl<T: Clone> Tail<T> for BroadcastTail<T> {
    #[inline]
    fn take(&mut self, records: impl Iterator<Item = T>) -> Result<()> {
        let batch: Vec<T> = records.collect();
        if let Some((last, others)) = self.0.split_last_mut()
            && !batch.is_empty()
        {
            others.iter_mut().for_each(|outlet| outlet.send(Element::Batch(batch.clone())));
            last.send(Element::Batch(batch));
        }
        Ok(())
    }
}

impl<T> Output for BroadcastTail<T> {
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.0.iter().all(Outlet::is_ready)
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(async {
            for outlet in &mut self.0 {
                outlet.ready().await;
            }
            Ok(())
        })
    }

    fn barrier(&mut self, barrier: Barrier, _: &mut Vec<Staged>) -> Result<()> {
        self.0.iter_mut().for_each(|outlet| outlet.send(Element::Barrier(barrier)));
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.0.iter_mut().for_each(|outlet| outlet.send(Element::End));
        Ok(())
    }
}

/// Sends records to one task on the same worker: the way into a union or an operator without keys.
#[derive(Debug)]
pub struct ForwardTail<T>(Outlet<T>);

impl<T> ForwardTail<T> {
    /// Forwards over `outlet`.
    pub fn new(outlet: Outlet<T>) -> Self {
        Self(outlet)
    }
}

impl<T> Tail<T> for ForwardTail<T> {
    #[inline]
    fn take(&mut self, records: impl Iterator<Item = T>) -> Result<()> {
        let batch: Vec<T> = records.collect();
        if !batch.is_empty() {
            self.0.send(Element::Batch(batch));
        }
        Ok(())
    }
}

impl<T> Output for ForwardTail<T> {
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.0.ready().map(Ok))
    }

    fn barrier(&mut self, barrier: Barrier, _: &mut Vec<Staged>) -> Result<()> {
        self.0.send(Element::Barrier(barrier));
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.0.send(Element::End);
        Ok(())
    }
}

/// Writes records to a sink.
pub struct SinkTail<T> {
    sink: Name,
    writer: Box<dyn Writer<T>>,
    batch: Vec<T>,
    metrics: Metrics,
    wrote: bool,
}

impl<T> SinkTail<T> {
    /// Writes through `writer`, the one of the operator `sink`.
    pub fn new(sink: Name, writer: Box<dyn Writer<T>>, metrics: Metrics) -> Self {
        Self { sink, writer, batch: Vec::new(), metrics, wrote: false }
    }
}

impl<T> fmt::Debug for SinkTail<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkTail({})", self.sink)
    }
}

impl<T> Tail<T> for SinkTail<T> {
    #[inline]
    fn take(&mut self, records: impl Iterator<Item = T>) -> Result<()> {
        self.batch.extend(records);
        if self.batch.is_empty() {
            return Ok(());
        }
        self.metrics.add_records_written(self.batch.len() as u64);
        self.wrote = true;
        self.writer.write(&mut self.batch).map_err(|e| e.at(format!("sink {}", self.sink)))
    }
}

impl<T> Output for SinkTail<T> {
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        !self.wrote
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.writer.ready().await.map_err(|e| e.at(format!("sink {}", self.sink)))?;
            self.wrote = false;
            Ok(())
        })
    }

    fn barrier(&mut self, barrier: Barrier, staged: &mut Vec<Staged>) -> Result<()> {
        let place = format!("sink {}", self.sink);
        let future = self.writer.snapshot(barrier.checkpoint);
        staged.push(Staged {
            sink: self.sink.clone(),
            committables: Box::pin(async move { future.await.map_err(|e| e.at(place)) }),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Sends each record to one of two consumers: `Ok` to the left, `Err` to the right.
pub struct ForkTail<L, R> {
    left: (Vec<L>, Box<dyn Consumer<L>>),
    right: (Vec<R>, Box<dyn Consumer<R>>),
}

impl<L, R> ForkTail<L, R> {
    /// Forks to `left` and `right`.
    pub fn new(left: Box<dyn Consumer<L>>, right: Box<dyn Consumer<R>>) -> Self {
        Self { left: (Vec::new(), left), right: (Vec::new(), right) }
    }
}

impl<L, R> fmt::Debug for ForkTail<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkTail")
    }
}

impl<L, R> ForkTail<L, R> {
    fn push_both(&mut self) -> Result<()> {
        if !self.left.0.is_empty() {
            self.left.1.push(&mut self.left.0)?;
        }
        if !self.right.0.is_empty() {
            self.right.1.push(&mut self.right.0)?;
        }
        Ok(())
    }
}

impl<L, R> Tail<Result<L, R>> for ForkTail<L, R> {
    #[inline]
    fn take(&mut self, records: impl Iterator<Item = Result<L, R>>) -> Result<()> {
        for record in records {
            match record {
                Ok(record) => self.left.0.push(record),
                Err(record) => self.right.0.push(record),
            }
        }
        self.push_both()
    }
}

/// Sends a copy of each record to two consumers.
impl<T: Clone> Tail<T> for ForkTail<T, T> {
    #[inline]
    fn take(&mut self, records: impl Iterator<Item = T>) -> Result<()> {
        for record in records {
            self.left.0.push(record.clone());
            self.right.0.push(record);
        }
        self.push_both()
    }
}

impl<L, R> Output for ForkTail<L, R> {
    fn flush(&mut self) -> Result<()> {
        self.left.1.flush()?;
        self.right.1.flush()
    }

    fn is_ready(&self) -> bool {
        self.left.1.is_ready() && self.right.1.is_ready()
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.left.1.ready().await?;
            self.right.1.ready().await
        })
    }

    fn barrier(&mut self, barrier: Barrier, staged: &mut Vec<Staged>) -> Result<()> {
        self.left.1.barrier(barrier, staged)?;
        self.right.1.barrier(barrier, staged)
    }

    fn end(&mut self) -> Result<()> {
        self.left.1.end()?;
        self.right.1.end()
    }
}
