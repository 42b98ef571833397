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
    fn apply(&self, record: C::In, out: &mut impl FnMut(C::Out)) {
        self.before.apply(record, &mut |r| {
            if (self.function)(&r) {
                out(r);
            }
        });
    }

    fn kinds(&self, kinds: &mut Vec<&'static str>) {
        self.before.kinds(kinds);
        kinds.push("filter");
    }
}
