//! A column whose type only the handles of its state know.
//!
//! Owns the way back from a handle to its typed column, which every access to a value takes. `Any`
//! would do the same through a call to the column's `type_id` in its table, at each access: of a keyed
//! count of 1,000 keys these calls and what they keep from being inlined took a fifth of the time. Builds
//! with debug assertions, so all tests and simulations of those, make that call at each access and compare.

use std::any::{Any, TypeId};
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::column::AnyColumn;

/// A column of some type.
pub(super) struct Erased {
    /// Of the column.
    id: TypeId,
    column: Box<dyn AnyColumn>,
}

impl Erased {
    pub(super) fn new<C: AnyColumn>(column: C) -> Self {
        Self { id: TypeId::of::<C>(), column: Box::new(column) }
    }

    /// What the two casts below rest on: `id` tells of the column in the box.
    #[inline]
    fn check<C: AnyColumn>(&self) {
        let column: &dyn Any = &*self.column;
        debug_assert_eq!(self.id == TypeId::of::<C>(), column.is::<C>());
    }

    /// The column, if it is a `C`.
    #[inline]
    #[expect(unsafe_code, reason = "the module's page has the measurement")]
    pub(super) fn typed<C: AnyColumn>(&self) -> Option<&C> {
        self.check::<C>();
        let column: *const dyn AnyColumn = &raw const *self.column;
        // SAFETY: `id` is private and set in `new` alone, from the type of the column that is boxed there;
        // nothing puts another column into the box. So the pointer is one to a `C`, and it lives and is
        // borrowed as `self`.
        (self.id == TypeId::of::<C>()).then(|| unsafe { &*column.cast::<C>() })
    }

    /// The column, if it is a `C`, to be changed.
    #[inline]
    #[expect(unsafe_code, reason = "the module's page has the measurement")]
    pub(super) fn typed_mut<C: AnyColumn>(&mut self) -> Option<&mut C> {
        self.check::<C>();
        let column: *mut dyn AnyColumn = &raw mut *self.column;
        // SAFETY: as in `typed`; `self` is borrowed mutably as long as the column is.
        (self.id == TypeId::of::<C>()).then(|| unsafe { &mut *column.cast::<C>() })
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
    use crate::state::StateKind;
    use crate::state::coding::Coding;
    use crate::state::column::Column;
    use crate::state::sub_column::SubColumn;

    #[test]
    fn a_column_is_given_back_as_what_it_is_and_as_nothing_else() {
        let name = Name::new("count").unwrap();
        let mut column = Erased::new(Column::<u64>::new(name, Coding::new(StateKind::Value), None));
        column.open_row(0, true, true);
        column.typed_mut::<Column<u64>>().unwrap().values.put(0, Some(7));
        assert_eq!(column.typed::<Column<u64>>().unwrap().values.get(0), Some(&7));
        assert!(column.typed::<Column<i64>>().is_none());
        assert!(column.typed_mut::<Column<String>>().is_none());
        assert!(column.typed::<SubColumn<u64, u64>>().is_none());
        column.close_row(0);
        assert_eq!(column.typed::<Column<u64>>().unwrap().values.get(0), None);
    }
}
