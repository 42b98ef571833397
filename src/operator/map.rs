//! `map`: one record in, one out.

use super::chain::{Chain, chained};

chained! {
    /// Applies a function to each record.
    Map
}

impl<C: Chain, U: Send + 'static, F> Chain for Map<C, F>
where
    F: Fn(C::Out) -> U + Send + Sync + 'static,
{
    type In = C::In;
    type Out = U;

    #[inline]
    fn run(&self, records: impl Iterator<Item = C::In>) -> impl Iterator<Item = U> {
        self.before.run(records).map(&*self.function)
    }

    fn kinds(&self, kinds: &mut Vec<&'static str>) {
        self.before.kinds(kinds);
        kinds.push("map");
    }
}
