//! Lists: a state of any number of elements for each key, in the order in which they were added.
//!
//! Owns their descriptor, handle and accesses. A list is stored in chunks, each an entry of its own whose
//! number says when it was begun: what is added goes to a chunk of the present interval, so that the log
//! gets the new elements alone, and nothing need be read for it, because no item of a chunk can be there
//! whose number is later than every completed checkpoint.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use super::coding::{Coding, Encode};
use super::descriptor::{ColumnId, handle};
use super::formats::StateKind;
use super::keyed::{KeyedState, Row, column, column_mut};
use super::known::SubRange;
use super::sub_column::{SubColumn, SubKey};
use super::ttl::{Ttl, with_ttl};
use crate::codec::{Bincode, Codec, Key, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::teeth::{Tooth, bites};

/// A state of any number of elements for each key. Flink: `ListStateDescriptor`.
///
/// ```
/// use millpond::state::ListDescriptor;
/// const FLIGHTS: ListDescriptor<String> = ListDescriptor::new("flights");
/// ```
pub struct ListDescriptor<T> {
    pub(super) name: &'static str,
    /// Of a chunk.
    pub(super) coding: Coding<Vec<T>>,
    pub(super) ttl: Option<Ttl>,
}

impl<T: Value> ListDescriptor<T> {
    /// A state called `name`, which is checked when it is registered.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, coding: Coding::new(StateKind::List), ttl: None }
    }

    /// Has elements written by `C` instead of by [`Bincode`], a chunk of them at a time.
    #[must_use]
    pub const fn with_codec<C: Codec<Vec<T>>>(mut self) -> Self {
        self.coding.write_by::<C>();
        self
    }

    /// Takes over elements that an earlier version of the program stored as `Old`; as
    /// [`super::ValueDescriptor::migrate_from`].
    #[must_use]
    pub fn migrate_from<Old: Value>(
        self,
        migrate: impl Fn(Old) -> T + Send + Sync + 'static,
    ) -> Self {
        self.migrate_from_codec::<Old, Bincode>(migrate)
    }

    /// As `migrate_from`, of elements that were written by codec `C`.
    #[must_use]
    pub fn migrate_from_codec<Old: Value, C: Codec<Vec<Old>>>(
        mut self,
        migrate: impl Fn(Old) -> T + Send + Sync + 'static,
    ) -> Self {
        let all = move |old: Vec<Old>| old.into_iter().map(&migrate).collect();
        self.coding.migrate::<Vec<Old>, C>(all);
        self
    }
}

impl<T> ListDescriptor<T> {
    /// The name as given.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A handle to a list of its operator; copied freely. Flink: `ListState`.
pub struct ListState<T> {
    pub(super) column: ColumnId,
    element: PhantomData<fn() -> T>,
}

impl<T> ListState<T> {
    pub(super) fn new(column: ColumnId) -> Self {
        Self { column, element: PhantomData }
    }
}

impl<T> Clone for ListDescriptor<T> {
    fn clone(&self) -> Self {
        Self { name: self.name, coding: self.coding.clone(), ttl: self.ttl }
    }
}

impl<T> fmt::Debug for ListDescriptor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListDescriptor({:?})", self.name)
    }
}

handle!(ListState<T>, "ListState({:?})", column);
with_ttl!(ListDescriptor<T>);

/// When a chunk was begun: the stamp of that interval, and a number within it.
pub(super) type ChunkId = (u32, u32);
/// The sub key of a chunk is the namespace and its number.
pub(super) type ListColumn<N, T> = SubColumn<(N, ChunkId), Vec<T>>;

/// Most elements of a chunk.
const CHUNK_ELEMENTS: usize = 1024;
/// Encoded elements of a chunk take about this much; more only where one element does.
const CHUNK_BYTES: usize = 64 << 10;
/// So many chunks of a list that are not half full are joined.
const SMALL_CHUNKS: usize = 32;

/// A key's list.
///
/// An addition reads nothing. What else there is to do reads the whole list where that is not in memory, and
/// the call gives [`ErrorKind::Suspended`], which the function returns; it is called again when that is done.
pub struct List<'a, K, T, N = ()> {
    state: &'a mut KeyedState<K>,
    handle: ListState<T>,
    row: Row,
    namespace: &'a N,
}

impl<'a, K: Key, T: Value, N: SubKey> List<'a, K, T, N> {
    pub(super) fn new(
        state: &'a mut KeyedState<K>,
        handle: ListState<T>,
        row: Row,
        namespace: &'a N,
    ) -> Self {
        Self { state, handle, row, namespace }
    }

    fn entries(&self) -> &ListColumn<N, T> {
        column(&self.state.columns, self.handle.column)
    }

    /// The chunks in memory, the newest first.
    fn newest_first(&self) -> impl Iterator<Item = u32> {
        let (entries, namespace) = (self.entries(), self.namespace);
        let before_next = |sub: &(N, ChunkId)| sub.0.cmp(namespace).then(Ordering::Less);
        entries
            .before(self.row.0, before_next)
            .take_while(move |&entry| entries.sub(entry).0 == *namespace)
    }

    /// The chunks in memory, the oldest first.
    fn oldest_first(&self) -> impl Iterator<Item = u32> {
        let (entries, namespace) = (self.entries(), self.namespace);
        let first = |sub: &(N, ChunkId)| sub.0.cmp(namespace).then(Ordering::Greater);
        entries.from(self.row.0, first).take_while(move |&entry| entries.sub(entry).0 == *namespace)
    }

    fn whole(&self) -> SubRange {
        SubRange::of_namespace(self.namespace)
    }

    fn need(&mut self) -> Result<()> {
        let range = self.whole();
        self.state.need_range::<(N, ChunkId), Vec<T>>(self.handle.column, self.row, || range)
    }

    /// All elements, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Suspended`] where they must be read first: one `Query` for each MiB of them.
    pub fn get(&mut self) -> Result<impl Iterator<Item = &T>> {
        self.need()?;
        let (column, values) = (self.handle.column, &self.entries().values);
        let state = &*self.state;
        let read = move |entry| state.read_value(column, values, entry);
        Ok(self.oldest_first().filter_map(read).flatten())
    }

    /// Whether there is no element. However long the list is, it is read no further than to the first page that has
    /// one.
    ///
    /// # Errors
    /// [`ErrorKind::Suspended`] where none is in memory, and one may have to be read first.
    pub fn is_empty(&mut self) -> Result<bool> {
        if self.any_in_memory() {
            return Ok(false);
        }
        let range = self.whole();
        let column = self.handle.column;
        self.state.need_any::<(N, ChunkId), Vec<T>>(column, self.row, || range)?;
        Ok(!self.any_in_memory())
    }

    /// Looking for one does not read it.
    fn any_in_memory(&self) -> bool {
        let values = &self.entries().values;
        self.newest_first().any(|entry| self.state.peek_value(values, entry).is_some())
    }

    /// Adds an element at the end. Reads nothing.
    pub fn add(&mut self, element: T) {
        self.add_all([element]);
    }

    /// Adds elements at the end, in their order. Reads nothing.
    pub fn add_all(&mut self, elements: impl IntoIterator<Item = T>) {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            let open = self.open_chunk();
            let Some(entry) = open else {
                self.begin_chunk(&mut elements);
                continue;
            };
            let length = self.entries().values.get(entry).map_or(0, Vec::len);
            let (column, shorten) = (self.handle.column, Vec::truncate);
            let own_codec = self.entries().values.coding.own_codec();
            let chunk = self.state.lengthen::<ListColumn<N, T>, _>(column, entry, length, shorten);
            if let Some(chunk) = chunk {
                fill(chunk, &mut elements, own_codec);
            }
        }
    }

    /// The newest chunk that has elements.
    fn newest_present(&self) -> Option<u32> {
        let values = &self.entries().values;
        self.newest_first().find(|&entry| values.get(entry).is_some())
    }

    /// The chunk that was begun in this interval, if there is room in it.
    fn open_chunk(&self) -> Option<u32> {
        let entry = self.newest_present()?;
        let entries = self.entries();
        let (stamp, _) = entries.sub(entry).1;
        // Elements of one chunk expire together.
        let is_open = stamp == self.state.log.current()
            && entries.values.expires_at(entry) == self.state.expiry_of_new(&entries.values);
        let own_codec = entries.values.coding.own_codec();
        let has_room = |chunk| !is_full(chunk, own_codec);
        (is_open && entries.values.get(entry).is_some_and(has_room)).then_some(entry)
    }

    /// Takes the number after all chunks that have elements, not after those removed in this interval: a list
    /// that is replaced by each record uses their entries again, and has no more of them for each.
    fn begin_chunk(&mut self, elements: &mut std::iter::Peekable<impl Iterator<Item = T>>) {
        let current = self.state.log.current();
        let newest = self.newest_present().map(|entry| self.entries().sub(entry).1);
        let mut id = match newest {
            Some((stamp, number)) if stamp == current => (stamp, number + 1),
            _ => (current, 0),
        };
        if bites(Tooth::ChunkNumberReused) {
            id = newest.unwrap_or_default();
        }
        self.join_small();
        let mut chunk = Vec::new();
        fill(&mut chunk, elements, self.entries().values.coding.own_codec());
        self.put_chunk(id, chunk);
    }

    /// Puts a chunk of this interval: no item of it can be there.
    fn put_chunk(&mut self, id: ChunkId, chunk: Vec<T>) {
        let column = self.handle.column;
        let sub = (self.namespace.clone(), id);
        let entry = self.state.fresh_entry::<(N, ChunkId), Vec<T>>(column, self.row, sub);
        self.state.put_entry::<ListColumn<N, T>, Vec<T>>(column, entry, Some(chunk));
    }

    /// Replaces all elements. However many there are that are not in memory, they are not kept there: what was there
    /// leaves tombstones, one a chunk.
    ///
    /// # Errors
    /// As [`List::get`].
    pub fn update(&mut self, elements: impl IntoIterator<Item = T>) -> Result<()> {
        self.clear()?;
        self.add_all(elements);
        Ok(())
    }

    /// Removes all elements.
    ///
    /// # Errors
    /// As [`List::update`].
    pub fn clear(&mut self) -> Result<()> {
        let column = self.handle.column;
        self.state.clear_namespace::<N, ChunkId, Vec<T>>(column, self.row, self.namespace)
    }

    fn remove_chunk(&mut self, entry: u32) {
        self.state.put_entry::<ListColumn<N, T>, Vec<T>>(self.handle.column, entry, None);
    }

    /// A list to which an element is added in each interval has a chunk for each: the newest of them are
    /// joined into one as long as the older one is not larger than all after it. So an element is written
    /// again at most as often as its chunk's size can double.
    fn join_small(&mut self) {
        let column = self.handle.column;
        let (entries, row) = (self.entries(), self.row.0);
        if !entries.known(row).is_complete() && !entries.known(row).encloses(&self.whole()) {
            return;
        }
        let chunk = |entry| entries.values.get(entry).map(|chunk| (entry, chunk));
        let expires_ms = self.newest_present().map_or(0, |entry| entries.values.expires_at(entry));
        let small: Vec<(u32, &Vec<T>)> = self
            .newest_first()
            .filter_map(chunk)
            .take_while(|(entry, chunk)| {
                chunk.len() <= CHUNK_ELEMENTS / 2 && entries.values.expires_at(*entry) == expires_ms
            })
            .take(SMALL_CHUNKS + 1)
            .collect();
        if small.len() <= SMALL_CHUNKS {
            return;
        }
        let own_codec = entries.values.coding.own_codec();
        let (mut sum, mut bytes, mut joined) = (0, 0, 0);
        for (i, (_, chunk)) in small.iter().enumerate() {
            bytes += length_of(chunk, own_codec);
            if i > 0 && (sum + chunk.len() > CHUNK_ELEMENTS || bytes > CHUNK_BYTES) {
                break;
            }
            if i > 0 && chunk.len() <= sum {
                joined = i + 1;
            }
            sum += chunk.len();
        }
        let joined = &small[..joined];
        let Some(&(oldest, _)) = joined.last() else { return };
        // Elements need not be `Clone`, and the old chunks must stay as they are: the record may be undone.
        let mut together: Vec<T> = Vec::new();
        for (_, chunk) in joined.iter().rev() {
            match entries.values.coding.copy(chunk) {
                Ok(copy) => together.extend(copy),
                Err(error) => {
                    let message =
                        format!("state {}: {error}", self.state.columns[column.index()].name());
                    self.state.failed.get_or_insert(Error::new(ErrorKind::User, message));
                    return;
                }
            }
        }
        let newer: Vec<u32> =
            joined.iter().map(|(entry, _)| *entry).filter(|e| *e != oldest).collect();
        self.state.put_entry::<ListColumn<N, T>, Vec<T>>(column, oldest, Some(together));
        // It is no write of these elements.
        column_mut::<ListColumn<N, T>>(&mut self.state.columns, column)
            .values
            .set_expiry(oldest, expires_ms);
        newer.into_iter().for_each(|entry| self.remove_chunk(entry));
    }
}

/// Moves elements into a chunk until it is full; at least one into an empty one.
fn fill<T: Value>(
    chunk: &mut Vec<T>,
    elements: &mut impl Iterator<Item = T>,
    own_codec: Option<Encode<Vec<T>>>,
) {
    while !is_full(chunk, own_codec) {
        let Some(element) = elements.next() else { return };
        chunk.push(element);
    }
}

/// Of what owns nothing elsewhere all elements are about as large, and looking now and then will do. So it must where
/// a codec of the user's own encodes all of them for it.
fn is_full<T: Value>(chunk: &Vec<T>, own_codec: Option<Encode<Vec<T>>>) -> bool {
    let (length, now_and_then) = (chunk.len(), chunk.len().is_power_of_two());
    let looked_at = match own_codec {
        None => std::mem::needs_drop::<T>() || length >= 4 && now_and_then,
        Some(_) => now_and_then,
    };
    length >= CHUNK_ELEMENTS || looked_at && length_of(chunk, own_codec) >= CHUNK_BYTES
}

/// How long a chunk is when encoded: by its last element, or by a codec of the user's own, whose errors are reported
/// when it is frozen.
fn length_of<T: Value>(chunk: &Vec<T>, own_codec: Option<Encode<Vec<T>>>) -> usize {
    let Some(encode) = own_codec else {
        return chunk.len() * chunk.last().map_or(0, Bincode::length);
    };
    let mut bytes = Vec::new();
    encode(chunk, &mut bytes).map_or(0, |()| bytes.len())
}

impl<K, T, N> fmt::Debug for List<'_, K, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({:?}, {:?})", self.handle, self.row)
    }
}
