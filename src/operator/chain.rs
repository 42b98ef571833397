//! A chain of stateless operators, fused by generics: a record goes through all of them in one loop,
//! without a call through a table and without a batch in between.

use std::fmt;
use std::marker::PhantomData;

/// Takes one record and gives out any number.
///
/// Shared by all subtasks, so it is immutable; closures of users are behind an `Arc`.
pub trait Chain: Clone + Send + Sync + 'static {
    /// What goes in.
    type In: Send + 'static;
    /// What comes out.
    type Out: Send + 'static;

    /// What comes out of `records`, in order. Where each record becomes one, the compiler knows how many
    /// that are, and can write them without looking for room.
    fn run(&self, records: impl Iterator<Item = Self::In>) -> impl Iterator<Item = Self::Out>;

    /// Appends the operators' kinds, first one first: `["map", "filter"]`.
    fn kinds(&self, kinds: &mut Vec<&'static str>);
}

/// The empty chain.
pub struct Identity<T>(PhantomData<fn(T) -> T>);

impl<T> Identity<T> {
    /// The empty chain.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Identity<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Identity<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Identity<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl<T: Send + 'static> Chain for Identity<T> {
    type In = T;
    type Out = T;

    #[inline]
    fn run(&self, records: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        records
    }

    fn kinds(&self, _: &mut Vec<&'static str>) {}
}

/// What the chained operators have in common: the chain before them and the user's function.
macro_rules! chained {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<C, F> {
            before: C,
            function: std::sync::Arc<F>,
        }

        impl<C, F> $name<C, F> {
            /// Appends `function` to the chain `before`.
            #[must_use]
            pub fn new(before: C, function: F) -> Self {
                Self { before, function: std::sync::Arc::new(function) }
            }
        }

        impl<C: Clone, F> Clone for $name<C, F> {
            fn clone(&self) -> Self {
                Self {
                    before: self.before.clone(),
                    function: std::sync::Arc::clone(&self.function),
                }
            }
        }

        impl<C, F> std::fmt::Debug for $name<C, F> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}
pub(super) use chained;
