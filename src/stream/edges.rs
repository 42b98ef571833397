//! The channels of an edge, with their types.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

use crate::exchange::{Inlet, Outlet, channel};
use crate::task::{Edge, EdgeEnds};

/// Every upstream subtask to every downstream one.
pub(super) struct CrossEdge<T>(PhantomData<fn() -> T>);

impl<T> Default for CrossEdge<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for CrossEdge<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CrossEdge")
    }
}

impl<T: Send + 'static> Edge for CrossEdge<T> {
    fn open(&self, parallelism: u32, channel_batches: usize) -> EdgeEnds {
        let count = parallelism as usize;
        let mut inlets: Vec<Vec<Inlet<T>>> = (0..count).map(|_| Vec::new()).collect();
        let outlets = (0..count)
            .map(|_| {
                let row: Vec<Outlet<T>> = inlets
                    .iter_mut()
                    .map(|target| {
                        let (outlet, inlet) = channel(channel_batches);
                        target.push(inlet);
                        outlet
                    })
                    .collect();
                Box::new(row) as Box<dyn Any + Send>
            })
            .collect();
        let inlets = inlets.into_iter().map(|i| Box::new(i) as Box<dyn Any + Send>).collect();
        EdgeEnds { outlets, inlets }
    }
}

/// Every upstream subtask to the downstream one on the same worker.
pub(super) struct ForwardEdge<T>(PhantomData<fn() -> T>);

impl<T> Default for ForwardEdge<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for ForwardEdge<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardEdge")
    }
}

impl<T: Send + 'static> Edge for ForwardEdge<T> {
    fn open(&self, parallelism: u32, channel_batches: usize) -> EdgeEnds {
        let (outlets, inlets) = (0..parallelism)
            .map(|_| {
                let (outlet, inlet): (Outlet<T>, Inlet<T>) = channel(channel_batches);
                (
                    Box::new(outlet) as Box<dyn Any + Send>,
                    Box::new(vec![inlet]) as Box<dyn Any + Send>,
                )
            })
            .unzip();
        EdgeEnds { outlets, inlets }
    }
}
