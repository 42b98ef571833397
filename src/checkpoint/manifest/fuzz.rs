//! Any bytes as a manifest, and what a restart does with one.

use super::tests::sample;
use super::*;
use crate::checkpoint::Slots;
use crate::fuzzing::Target;
use crate::ids::{Attempt, SlotId};
use crate::state::BlockKind;

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some((header, chunk)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() {
        header[..4].copy_from_slice(&MAGIC);
        let checksum = checksum(&header[..14], chunk);
        header[14..].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

#[test]
fn any_bytes_are_a_manifest_or_an_error() {
    let whole = sample().encode().unwrap();
    let parts = sample().encode_in_parts_of(48).unwrap();
    let mut target = Target::new("manifest").repair(with_checksum);
    for part in whole.iter().chain(&parts) {
        target = target.seed(part.to_vec());
    }
    target.run(|bytes| match Manifest::decode(&[Bytes::copy_from_slice(bytes)]) {
        Ok(manifest) => {
            let again = manifest.encode().unwrap();
            assert_eq!(Manifest::decode(&again).unwrap(), manifest);
            let counts = Name::new("counts").unwrap();
            let range = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(127) };
            let _horizon = manifest.horizon_of_range(&counts, range);
            let version = Version { attempt: Attempt(9), checkpoint: CheckpointId(43) };
            let slots = Slots::restored(Attempt(9), &[(SlotId(0), 300, &manifest)]);
            let taken = slots.take(BlockKind::Segment, 300, version);
            format!("a manifest, {:?}", taken.is_ok())
        }
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
            assert!(e.to_string().starts_with("manifest: "), "{e}");
            e.to_string()
        }
    });
}
