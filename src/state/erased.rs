//! A column whose type only the handles of its state know.
//!
//! Owns the way back from a handle to its typed column, which every access to a value takes. `Any`
//! would do the same through a call to the column's `type_id` in its table, at each access: of a keyed
//! count of 1,000 keys these calls and what they keep from being inlined took a fifth of the time.

use std::any::TypeId;
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::column::{AnyColumn, Column};
use crate::codec::Value;

/// A column of some type.
pub(super) struct Erased {
    /// Of the values.
    values: TypeId,
    column: Box<dyn AnyColumn>,
}

impl Erased {
    pub(super) fn new<V: Value>(column: Column<V>) -> Self {
        Self { values: TypeId::of::<V>(), column: Box::new(column) }
    }

    /// The column, if its values are `V`s.
    #[inline]
    #[expect(unsafe_code, reason = "the module's page has the measurement")]
    pub(super) fn typed<V: Value>(&self) -> Option<&Column<V>> {
        let column: *const dyn AnyColumn = &raw const *self.column;
        // SAFETY: `values` is private and set in `new` alone, from the type whose column is boxed there;
        // nothing puts another column into the box. So the pointer is one to a `Column<V>`, and it lives
        // and is borrowed as `self`.
        (self.values == TypeId::of::<V>()).then(|| unsafe { &*column.cast::<Column<V>>() })
    }

    /// The column, if its values are `V`s, to be changed.
    #[inline]
    #[expect(unsafe_code, reason = "the module's page has the measurement")]
    pub(super) fn typed_mut<V: Value>(&mut self) -> Option<&mut Column<V>> {
        let column: *mut dyn AnyColumn = &raw mut *self.column;
        // SAFETY: as in `typed`; `self` is borrowed mutably as long as the column is.
        (self.values == TypeId::of::<V>()).then(|| unsafe { &mut *column.cast::<Column<V>>() })
    }
}

impl Deref for Erased {
    type Target = dyn AnyColumn;

    fn deref(&self) -> &Self::Target {
        &*self.column
    }
}

impl DerefMut for Erased {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.column
    }
}

impl fmt::Debug for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::state::coding::Coding;

    #[test]
    fn a_column_is_given_back_as_what_it_is_and_as_nothing_else() {
        let name = Name::new("count").unwrap();
        let mut column = Erased::new(Column::<u64>::new(name, Coding::new()));
        column.add_row();
        column.typed_mut::<u64>().unwrap().put(0, Some(7));
        assert_eq!(column.typed::<u64>().unwrap().get(0), Some(&7));
        assert!(column.typed::<i64>().is_none() && column.typed_mut::<String>().is_none());
        column.vacate(0);
        assert_eq!(column.typed::<u64>().unwrap().get(0), None);
    }
}
