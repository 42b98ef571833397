//! What map keys begin with.
//!
//! Owns [`Prefix`]: in memory and in bytes, which must say the same.

use std::cmp::Ordering;

use crate::codec::Key;

/// A key that may begin with a `P`: a text with a text, a tuple with its first parts.
pub trait Prefix<P: ?Sized>: Key {
    /// [`Ordering::Equal`] where it begins with `prefix`, else how it compares to it.
    fn cmp_prefix(&self, prefix: &P) -> Ordering;

    /// Appends the bytes that the encoding of each key with this prefix begins with, and no other.
    fn encode_prefix(prefix: &P, out: &mut Vec<u8>);
}

/// An encoded text without its end mark, two bytes, is what longer ones begin with.
fn without_end(key: &impl Key, out: &mut Vec<u8>) {
    key.encode(out);
    out.truncate(out.len() - 2);
}

impl Prefix<str> for String {
    fn cmp_prefix(&self, prefix: &str) -> Ordering {
        cmp_bytes(self.as_bytes(), prefix.as_bytes())
    }

    fn encode_prefix(prefix: &str, out: &mut Vec<u8>) {
        without_end(&prefix.to_owned(), out);
    }
}

impl Prefix<[u8]> for Vec<u8> {
    fn cmp_prefix(&self, prefix: &[u8]) -> Ordering {
        cmp_bytes(self, prefix)
    }

    fn encode_prefix(prefix: &[u8], out: &mut Vec<u8>) {
        without_end(&prefix.to_vec(), out);
    }
}

fn cmp_bytes(key: &[u8], prefix: &[u8]) -> Ordering {
    if key.starts_with(prefix) { Ordering::Equal } else { key.cmp(prefix) }
}

macro_rules! tuple_prefixes {
    ($(($($key:ident),*), ($($name:ident $index:tt),*);)*) => {$(
        impl<$($key: Key + Ord),*> Prefix<($($name,)*)> for ($($key,)*) {
            fn cmp_prefix(&self, prefix: &($($name,)*)) -> Ordering {
                Ordering::Equal$(.then_with(|| self.$index.cmp(&prefix.$index)))*
            }

            fn encode_prefix(prefix: &($($name,)*), out: &mut Vec<u8>) {
                $(prefix.$index.encode(out);)*
            }
        }
    )*};
}

tuple_prefixes! {
    (A, B), (A 0);
    (A, B, C), (A 0);
    (A, B, C), (A 0, B 1);
    (A, B, C, D), (A 0);
    (A, B, C, D), (A 0, B 1);
    (A, B, C, D), (A 0, B 1, C 2);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<P: ?Sized, K: Prefix<P>>(key: &K, prefix: &P, begins: bool) {
        let (mut bytes, mut of_prefix) = (Vec::new(), Vec::new());
        key.encode(&mut bytes);
        K::encode_prefix(prefix, &mut of_prefix);
        assert_eq!(bytes.starts_with(&of_prefix), begins, "{key:?} in bytes");
        let expected = if begins { Ordering::Equal } else { bytes.cmp(&of_prefix) };
        assert_eq!(key.cmp_prefix(prefix), expected, "{key:?}");
    }

    proptest! {
        #[test]
        fn memory_and_bytes_say_the_same(
            key in prop::collection::vec(0u8..3, 0..5),
            prefix in prop::collection::vec(0u8..3, 0..3),
            pair: (u8, String),
            first: u8,
        ) {
            check(&key, &prefix[..], key.starts_with(&prefix));
            let text = |bytes: &[u8]| bytes.iter().map(|b| char::from(*b)).collect::<String>();
            check(&text(&key), &text(&prefix)[..], key.starts_with(&prefix));
            check(&pair, &(first,), pair.0 == first);
            let triple = (pair.0, first, pair.1);
            check(&triple, &(first, pair.0), triple.0 == first && triple.1 == pair.0);
        }
    }
}
