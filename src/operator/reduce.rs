//! `reduce`: combines each record with the result so far of its key.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::process::{Context, KeyedProcess};
use crate::codec::{Key, Value};
use crate::error::Result;
use crate::state::{States, ValueDescriptor, ValueState};

/// Keeps one result a key and gives out each new one. Flink: `StreamGroupedReduceOperator`.
pub struct Reduce<K, T, F> {
    function: Arc<F>,
    result: ValueState<T>,
    key: PhantomData<fn(K)>,
}

impl<K, T: Value, F> Reduce<K, T, F> {
    /// Declares the one state.
    pub fn new(states: &mut States, descriptor: ValueDescriptor<T>, function: Arc<F>) -> Self {
        Self { function, result: states.value(descriptor), key: PhantomData }
    }
}

impl<K, T, F> fmt::Debug for Reduce<K, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reduce")
    }
}

impl<K, T, F> KeyedProcess for Reduce<K, T, F>
where
    K: Key,
    T: Value + Clone,
    F: Fn(T, T) -> T + 'static,
{
    type Key = K;
    type In = T;
    type Out = T;

    #[inline]
    fn process(&self, record: T, context: &mut Context<'_, Self>) -> Result<()> {
        let result = match context.get(self.result) {
            Some(result) => (self.function)(result.clone(), record),
            None => record,
        };
        context.set(self.result, result.clone());
        context.emit(result);
        Ok(())
    }
}
