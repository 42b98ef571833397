//! `flat_map`: one record in, any number out, in the iterator's order.

use super::chain::{Chain, chained};

chained! {
    /// Applies a function that gives any number of records for each.
    FlatMap
}

impl<C: Chain, I, F> Chain for FlatMap<C, F>
where
    I: IntoIterator,
    I::Item: Send + 'static,
    F: Fn(C::Out) -> I + Send + Sync + 'static,
{
    type In = C::In;
    type Out = I::Item;

    #[inline]
    fn run(&self, records: impl Iterator<Item = C::In>) -> impl Iterator<Item = I::Item> {
        self.before.run(records).flat_map(&*self.function)
    }

    fn kinds(&self, kinds: &mut Vec<&'static str>) {
        self.before.kinds(kinds);
        kinds.push("flat_map");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Filter, Identity, Map};
    use super::*;

    #[test]
    fn a_chain_is_one_loop_that_keeps_order() {
        let chain = Map::new(Identity::<u32>::new(), |n| n + 1);
        let chain = FlatMap::new(chain, |n| vec![n, n * 10]);
        let chain = Filter::new(chain, |n: &u32| *n != 20);
        assert_eq!(chain.run(0..3).collect::<Vec<_>>(), [1, 10, 2, 3, 30]);
        let mut kinds = Vec::new();
        chain.kinds(&mut kinds);
        assert_eq!(kinds, ["map", "flat_map", "filter"]);
    }
}
