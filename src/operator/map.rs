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
    fn apply(&self, record: C::In, out: &mut impl FnMut(U)) {
        self.before.apply(record, &mut |r| out((self.function)(r)));
    }

    fn kinds(&self, kinds: &mut Vec<&'static str>) {
        self.before.kinds(kinds);
        kinds.push("map");
    }
}
