//! SplitMix64 (Steele, Lea and Flood): numbers that look random, for little, and are the same on every machine and
//! in every version: traces and generated records are made of them.

/// The next number of the generator at `state`.
#[inline]
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// Its finaliser: each bit of the result depends on each bit of `x`, and no two of them give the same.
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
