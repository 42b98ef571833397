//! `filter`: keeps the records that a predicate holds for.

use super::chain::{Chain, chained};

chained! {
    /// Passes on each record for which a predicate holds.
    Filter
}

impl<C: Chain, F> Chain for Filter<C, F>
where
    F: Fn(&C::Out) -> bool + Send + Sync + 'static,
{
    type In = C::In;
    type Out = C::Out;

    #[inline]
    fn run(&self, records: impl Iterator<Item = C::In>) -> impl Iterator<Item = C::Out> {
        self.before.run(records).filter(&*self.function)
    }

    fn kinds(&self, kinds: &mut Vec<&'static str>) {
        self.before.kinds(kinds);
        kinds.push("filter");
    }
}
