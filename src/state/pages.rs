//! Large vectors on huge pages, where the system gives them only to who asks (`madvise`, as most do).
//!
//! Owns the asking. With a million keys each record touches three places at random, and on small pages
//! the processor has to look up most of their addresses first.

/// Smaller ones are not worth a page of 2 MiB.
const LEAST_BYTES: usize = 4 << 20;
/// What advice is aligned to: at least a page of any usual size.
const ALIGNMENT: usize = 64 << 10;

/// Asks for huge pages for what `vec` has allocated. A refusal changes nothing but the speed.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the module's page says what it is worth")]
pub(super) fn huge<T>(vec: &Vec<T>) {
    use rustix::mm::{Advice, madvise};

    let bytes = vec.capacity() * size_of::<T>();
    if bytes < LEAST_BYTES {
        return;
    }
    let start = vec.as_ptr().cast::<u8>();
    let skipped = start.align_offset(ALIGNMENT).min(bytes);
    let length = (bytes - skipped) / ALIGNMENT * ALIGNMENT;
    // SAFETY: the range lies inside of the vector's allocation, and this advice changes no content,
    // only which pages the system takes for it.
    let _refused = unsafe {
        madvise(start.cast_mut().add(skipped).cast(), length, Advice::LinuxHugepage).is_err()
    };
}

/// There is no such advice here.
#[cfg(not(target_os = "linux"))]
pub(super) fn huge<T>(_: &Vec<T>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_keeps_its_content_as_it_grows() {
        let mut numbers: Vec<u32> = Vec::new();
        for n in 0..3_000_000 {
            if numbers.len() == numbers.capacity() {
                numbers.reserve_exact((numbers.len() / 2).max(16));
                huge(&numbers);
            }
            numbers.push(n);
        }
        assert!(numbers.into_iter().eq(0..3_000_000));
        huge(&Vec::<()>::new());
    }
}
