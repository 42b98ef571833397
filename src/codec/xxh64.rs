//! XXH64 with seed 0 of four and of eight bytes, there and back.
//!
//! Owns its steps, after the algorithm's published description. Of these two lengths each of them can be undone, so that the bytes
//! can be told from their hash. Of no other length is that said: of five to seven bytes, say, several may have one hash. Those are
//! `xxhash-rust`'s.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;
const INVERSE_1: u64 = inverse(P1);
const INVERSE_2: u64 = inverse(P2);
const INVERSE_3: u64 = inverse(P3);

/// Inlined, which the general function is not. It makes a keyed count of integers a tenth faster.
#[inline]
pub(super) fn of_8(bytes: [u8; 8]) -> u64 {
    let lane = u64::from_le_bytes(bytes).wrapping_mul(P2).rotate_left(31).wrapping_mul(P1);
    let hash = P5.wrapping_add(8) ^ lane;
    avalanche(hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4))
}

/// The bytes whose [`of_8`] is `hash`: there are some for every hash.
#[inline]
pub(super) fn undone_8(hash: u64) -> [u8; 8] {
    let hash = avalanche_undone(hash).wrapping_sub(P4).wrapping_mul(INVERSE_1).rotate_right(27);
    let lane = (hash ^ P5.wrapping_add(8)).wrapping_mul(INVERSE_1).rotate_right(31);
    lane.wrapping_mul(INVERSE_2).to_le_bytes()
}

/// The bytes whose hash is `hash`, which is that of four.
#[inline]
pub(super) fn undone_4(hash: u64) -> [u8; 4] {
    let hash = avalanche_undone(hash).wrapping_sub(P3).wrapping_mul(INVERSE_2).rotate_right(23);
    let lane = (hash ^ P5.wrapping_add(4)).wrapping_mul(INVERSE_1);
    debug_assert_eq!(lane >> 32, 0, "not the hash of four bytes");
    (lane as u32).to_le_bytes()
}

/// The last steps.
#[inline]
fn avalanche(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

#[inline]
fn avalanche_undone(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(INVERSE_3);
    let hash = (hash ^ (hash >> 29) ^ (hash >> 58)).wrapping_mul(INVERSE_2);
    hash ^ (hash >> 33)
}

/// What an odd number is multiplied by to give 1: by Newton's method, which doubles the bits that are right, three at first.
const fn inverse(odd: u64) -> u64 {
    let mut near = odd;
    let mut right = 3;
    while right < u64::BITS {
        near = near.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(near)));
        right *= 2;
    }
    near
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh64::xxh64;

    use super::*;

    proptest! {
        #[test]
        fn bytes_are_told_from_their_hash(short: [u8; 4], long: [u8; 8]) {
            prop_assert_eq!(undone_4(xxh64(&short, 0)), short);
            prop_assert_eq!(undone_8(xxh64(&long, 0)), long);
            prop_assert_eq!(of_8(long), xxh64(&long, 0));
        }
    }
}
