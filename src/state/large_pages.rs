//! Memory in pages of 2 MiB.
//!
//! A record of one of a million keys touches places that are far apart: the index, the key (unless the index knows it) and the value.
//! In pages of 4 KiB the processor looks up most of their addresses in tables that are in no cache either.
//! Linux gives larger pages where a program asks for them (`madvise`), which is what most distributions have
//! `/sys/kernel/mm/transparent_hugepage/enabled` say. Where they are refused nothing is different but the time.
//!
//! Owns the asking and how large what is asked for should be: whole pages, because a mapping of whole pages is
//! given an address at which they can be used, and moves with them when it grows. How much is worth it is told in
//! `docs/design/0008-large-pages.md`.

/// Bytes of a large page; on the processors that have other ones too, the smallest.
const PAGE: usize = 2 << 20;
/// What an allocator may keep in front of what it gives out, and may need to align it, so that all is whole pages.
const HEADER: usize = 256;

/// How many elements there is room for where room for so many is asked for: large memory is given out in whole pages.
pub(super) fn room<T>(elements: usize) -> usize {
    match elements.saturating_mul(size_of::<T>()) {
        bytes if bytes < PAGE => elements,
        bytes => whole_pages(bytes) / size_of::<T>(),
    }
}

/// Makes room for `elements` in all, and for what else is in the last page.
pub(super) fn reserve<T>(vec: &mut Vec<T>, elements: usize) {
    let room = room::<T>(elements);
    if elements.saturating_mul(size_of::<T>()) < PAGE {
        return vec.reserve_exact(room.saturating_sub(vec.len()));
    }
    if room <= vec.capacity() {
        return;
    }
    if vec.capacity() * size_of::<T>() < PAGE {
        // The only copy: what grew in place would stay in its small pages.
        let mut larger: Vec<T> = Vec::with_capacity(room);
        advise(larger.as_ptr().cast(), larger.capacity() * size_of::<T>());
        larger.append(vec);
        *vec = larger;
    } else {
        vec.reserve_exact(room - vec.len());
        advise(vec.as_ptr().cast(), vec.capacity() * size_of::<T>());
    }
}

fn whole_pages(bytes: usize) -> usize {
    bytes.saturating_add(HEADER).checked_next_multiple_of(PAGE).map_or(bytes, |all| all - HEADER)
}

/// Asks for large pages where `bytes` of memory at `start` are, the last ones at both ends included.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the only way to say it")]
fn advise(start: *const u8, bytes: usize) {
    /// A multiple of the system's own pages, whatever they are.
    const STEP: usize = 64 << 10;
    if bytes >= PAGE {
        let before = start.addr() % STEP;
        let length = (before + bytes).next_multiple_of(STEP);
        let start = start.wrapping_sub(before).cast_mut();
        // SAFETY: neither what is in memory changes nor who may use it, whosever it is; what is no memory is passed over.
        let _smaller_pages = unsafe { libc::madvise(start.cast(), length, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *const u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_keeps_its_elements_and_fills_whole_pages() {
        let mut grown: Vec<u64> = Vec::new();
        for elements in [10, 1000, PAGE / 8 - 9, PAGE / 8, PAGE, 3 * PAGE] {
            reserve(&mut grown, elements);
            assert!(grown.capacity() >= elements);
            if elements * 8 >= PAGE {
                let over = (grown.capacity() * 8 + HEADER) % PAGE;
                assert_eq!(over, 0, "{elements}: {} bytes", grown.capacity() * 8);
            }
            let room = grown.capacity();
            reserve(&mut grown, elements);
            assert_eq!(grown.capacity(), room, "there is room");
            grown.extend(grown.len() as u64..elements as u64);
        }
        assert!(grown.iter().copied().eq(0..3 * PAGE as u64));
        let mut without_size = vec![(); 5];
        reserve(&mut without_size, 100);
        assert_eq!(without_size.len(), 5);
    }

    /// Of the mapping in which `address` lies.
    #[cfg(target_os = "linux")]
    fn asks_for_large_pages(address: usize) -> bool {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_there = false;
        for line in smaps.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if let Some((from, to)) = word.split_once('-') {
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                is_there = (number(from)..number(to)).contains(&address);
            } else if is_there && word == "VmFlags:" {
                return rest.split(' ').any(|flag| flag == "hg");
            }
        }
        panic!("{address:x} is in no mapping");
    }

    /// Also after it has moved.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_large_asks_for_large_pages() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
            return;
        }
        let mut large: Vec<u64> = Vec::new();
        for pages in [2, 16, 32] {
            reserve(&mut large, pages * PAGE / 8);
            large.resize(pages * PAGE / 8, 1);
            let middle = large[large.len() / 2..].as_ptr().addr();
            assert!(asks_for_large_pages(middle), "{pages} pages");
        }
    }
}
