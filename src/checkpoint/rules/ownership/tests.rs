//! Tests of whose the head is.

use super::*;
use crate::checkpoint::contract::sample_head;
use crate::ids::{SlotId, Version};

fn head(attempt: u64, owner: &str, checkpoint: u64) -> Head {
    Head { retained: Vec::new(), owner: owner.to_owned(), ..sample_head(attempt, checkpoint) }
}

fn mine() -> Mine {
    Mine { attempt: Attempt(4), owner: "me".to_owned() }
}

fn moved(shown: Option<&Head>) -> Resolution {
    resolve_move(&mine(), CheckpointId(7), CheckpointId(9), shown)
}

#[test]
fn a_move_is_done_when_the_head_shows_it_and_goes_out_again_until_then() {
    assert_eq!(moved(Some(&head(4, "me", 9))), Resolution::Completed);
    assert_eq!(moved(Some(&head(4, "me", 7))), Resolution::SendAgain);
    assert_eq!(moved(None), Resolution::Broken);
    assert_eq!(moved(Some(&head(4, "me", 8))), Resolution::Broken);
}

/// Mistake t: after a roll-back another attempt may complete the same number; that is no success of
/// mine.
#[test]
fn another_attempts_checkpoint_of_the_same_number_is_not_my_success() {
    let resolution = moved(Some(&head(5, "other", 9)));
    let by = FencedBy { attempt: Attempt(5), owner: "other".to_owned() };
    assert_eq!(resolution, Resolution::Fenced(by.clone()));
    let error = Error::from(by);
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("attempt 5 of owner other"), "{error}");
}

/// Mistake u: the number alone does not say that a claim is won.
#[test]
fn a_claim_is_won_by_attempt_and_owner_together() {
    assert!(claimed(&mine(), Some(&head(4, "me", 7))));
    assert!(!claimed(&mine(), Some(&head(4, "other", 7))));
    // Mistake w: a successor's head is no answer to my claim.
    assert!(!claimed(&mine(), Some(&head(5, "me", 7))));
    assert!(!claimed(&mine(), None));
}

/// Mistakes v and w: only a head that my claim left may be worked from.
#[test]
fn nothing_is_taken_from_a_head_that_is_not_mine_or_contradicts_itself() {
    let kept = |checkpoint| Retained {
        checkpoint: CheckpointId(checkpoint),
        slot: SlotId(1),
        version: Version { attempt: Attempt(3), checkpoint: CheckpointId(checkpoint) },
    };
    let mut good = head(4, "me", 7);
    good.retained = vec![kept(6), kept(7)];
    assert_eq!(restorable(&mine(), &good).unwrap().retained, good.retained);
    let theirs = Head { attempt: Attempt(5), ..good.clone() };
    assert_eq!(restorable(&mine(), &theirs).unwrap_err().kind(), ErrorKind::Internal);
    for bad in [vec![], vec![kept(6)], vec![kept(7), kept(6), kept(7)]] {
        let head = Head { retained: bad, ..good.clone() };
        assert_eq!(restorable(&mine(), &head).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert!(restorable(&mine(), &head(4, "me", 0)).is_ok());
}

#[test]
fn other_writes_of_the_head_resolve_likewise() {
    let resolve = |head: Option<&Head>, done| resolve_owned(&mine(), head, |_| done);
    assert_eq!(resolve(Some(&head(4, "me", 7)), true), Resolution::Completed);
    assert_eq!(resolve(Some(&head(4, "me", 7)), false), Resolution::SendAgain);
    assert!(matches!(resolve(Some(&head(4, "x", 7)), true), Resolution::Fenced(_)));
    assert_eq!(resolve(None, true), Resolution::Broken);
}
