//! Tests of how a run begins.

use super::*;
use crate::checkpoint::contract::sample_head;
use crate::ids::Attempt;

fn identity(graph: &str) -> Identity {
    Identity {
        hash: "h".to_owned(),
        key_encoding: 1,
        max_parallelism: 128,
        graph: graph.to_owned(),
        input: "a: file a.csv".to_owned(),
        is_rolled_back: false,
    }
}

fn head(status: HeadStatus) -> Head {
    Head { owner: "old".to_owned(), status, identity: identity("g"), ..sample_head(3, 9) }
}

fn decide<'a>(head: Option<&'a Head>, change: impl FnOnce(&mut StartFacts<'a>)) -> Start {
    static GIVEN: std::sync::LazyLock<Identity> = std::sync::LazyLock::new(|| identity("g"));
    let mut facts = StartFacts {
        head,
        identity: &GIVEN,
        mode: StartMode::Auto,
        exclusive: false,
        sent: &[],
        restart: false,
        roll_back: None,
    };
    change(&mut facts);
    start(&facts)
}

#[test]
fn without_a_head_attempt_one_is_created_unless_resume_is_insisted_on() {
    assert_eq!(decide(None, |_| {}), Start::Create);
    assert_eq!(decide(None, |f| f.mode = StartMode::Fresh), Start::Create);
    let refused = Start::Refused(Refusal::NothingToResume);
    assert_eq!(decide(None, |f| f.mode = StartMode::Resume), refused);
    assert_eq!(decide(None, |f| f.restart = true), Start::Refused(Refusal::Vanished));
    // It used to be met by each attempt anew, for ever.
    assert_eq!(Error::from(Refusal::Vanished).kind(), ErrorKind::Corrupt);
}

#[test]
fn only_a_running_head_is_waited_for_and_only_by_who_may_have_company() {
    let running = head(HeadStatus::Running);
    assert_eq!(decide(Some(&running), |_| {}), Start::Resume { wait: true });
    assert_eq!(decide(Some(&running), |f| f.exclusive = true), Start::Resume { wait: false });
    let fresh = decide(Some(&running), |f| f.mode = StartMode::Fresh);
    assert_eq!(fresh, Start::Fresh { wait: true });
    for status in [HeadStatus::Stopped, HeadStatus::Failed] {
        assert_eq!(decide(Some(&head(status)), |_| {}), Start::Resume { wait: false });
    }
}

#[test]
fn what_has_finished_starts_afresh_and_is_not_resumed() {
    let finished = head(HeadStatus::Finished);
    assert_eq!(decide(Some(&finished), |_| {}), Start::Fresh { wait: false });
    let refused = Start::Refused(Refusal::Finished);
    assert_eq!(decide(Some(&finished), |f| f.mode = StartMode::Resume), refused);
}

/// A restart inside the process goes on with its own head at once, and never takes another's.
#[test]
fn a_restart_is_fenced_by_any_other_owner() {
    let running = head(HeadStatus::Running);
    let sent = [Mine { attempt: Attempt(3), owner: "old".to_owned() }];
    let ours = decide(Some(&running), |f| {
        f.restart = true;
        f.sent = &sent;
        f.mode = StartMode::Fresh;
    });
    assert_eq!(ours, Start::Resume { wait: false });
    let theirs = decide(Some(&running), |f| f.restart = true);
    assert!(matches!(theirs, Start::Fenced(by) if by.owner == "old"));
}

#[test]
fn another_graph_is_refused_with_both_and_the_way_out() {
    let stopped = head(HeadStatus::Stopped);
    let other = identity("another graph");
    let facts = StartFacts {
        head: Some(&stopped),
        identity: &other,
        mode: StartMode::Auto,
        exclusive: false,
        sent: &[],
        restart: false,
        roll_back: None,
    };
    let Start::Refused(refusal) = start(&facts) else { panic!("not refused") };
    let error = Error::from(refusal);
    assert_eq!(error.kind(), ErrorKind::Usage);
    for part in ["recorded: g", "another graph", "--fresh"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(!error.message().contains("a.csv"), "what is equal is not shown: {error}");
    let fresh = StartFacts { mode: StartMode::Fresh, ..facts };
    assert_eq!(start(&fresh), Start::Fresh { wait: false });
}

/// A wrong glob used to be recorded with the first head, and then the right one was refused.
/// The same operators in another wiring used to go on, each with the other's state.
#[test]
fn another_wiring_is_refused_and_a_graph_recorded_without_it_goes_on() {
    let decide = |recorded: &str, given: &str| {
        let head = Head { identity: identity(recorded), ..head(HeadStatus::Stopped) };
        let given = identity(given);
        start(&StartFacts {
            head: Some(&head),
            identity: &given,
            mode: StartMode::Auto,
            exclusive: true,
            sent: &[],
            restart: false,
            roll_back: None,
        })
    };
    let graph = "source a\nsource b -> map\nreduce c [state] <- a\nsink d <- c\n";
    let resumed = Start::Resume { wait: false };
    assert_eq!(decide(graph, graph), resumed);
    let swapped = graph.replace("<- a", "<- b");
    let Start::Refused(refusal) = decide(graph, &swapped) else { panic!("it goes on") };
    let text = refusal.to_string();
    assert!(
        text.contains("reduce c [state] <- a") && text.contains("reduce c [state] <- b"),
        "{text}"
    );
    // By an earlier version.
    let without = "source a\nsource b -> map\nreduce c [state]\nsink d\n";
    for given in [graph, &swapped] {
        assert_eq!(decide(without, given), resumed);
    }
    for other in [without.replace("state", "other"), format!("{without}sink e\n")] {
        assert!(
            matches!(decide(&other, graph), Start::Refused(Refusal::Different { .. })),
            "{other}"
        );
    }
    assert!(matches!(decide(graph, without), Start::Refused(Refusal::Different { .. })));
}

#[test]
fn before_the_first_checkpoint_another_input_goes_on() {
    let mut failed = head(HeadStatus::Failed);
    failed.identity = identity("another graph");
    assert!(matches!(decide(Some(&failed), |_| {}), Start::Refused(Refusal::Different { .. })));
    failed.checkpoint = CheckpointId::NONE;
    failed.retained.clear();
    assert_eq!(decide(Some(&failed), |_| {}), Start::Resume { wait: false });
}

/// It used to be taken for going on, and began with nothing.
#[test]
fn resume_is_refused_where_no_checkpoint_was_completed() {
    let before_first =
        |status| Head { checkpoint: CheckpointId::NONE, retained: Vec::new(), ..head(status) };
    let running = before_first(HeadStatus::Running);
    let resume = |f: &mut StartFacts<'_>| f.mode = StartMode::Resume;
    let refused = Start::Refused(Refusal::NothingToResume);
    for status in [HeadStatus::Stopped, HeadStatus::Failed] {
        assert_eq!(decide(Some(&before_first(status)), resume), refused);
        assert_eq!(decide(Some(&before_first(status)), |_| {}), Start::Resume { wait: false });
    }
    // Its owner may complete one; where it is gone, there is none.
    assert_eq!(decide(Some(&running), resume), Start::Resume { wait: true });
    let alone = decide(Some(&running), |f| {
        f.mode = StartMode::Resume;
        f.exclusive = true;
    });
    assert_eq!(alone, refused);
    let sent = [Mine { attempt: Attempt(3), owner: "old".to_owned() }];
    let restarted = decide(Some(&running), |f| {
        f.mode = StartMode::Resume;
        (f.restart, f.sent) = (true, &sent);
    });
    assert_eq!(restarted, Start::Resume { wait: false });
}

/// A source that cannot be gone back to used to give up all state of a job that it was added to.
#[test]
fn what_could_be_gone_on_with_is_given_up_only_where_that_is_asked_for() {
    let with_input = |input: &str| Identity { input: input.to_owned(), ..identity("g") };
    let files = "a: file a.csv\n";
    let once = "in: standard input (once)\n";
    let given = with_input(&format!("{files}{once}"));
    let decide = |recorded: &str, change: &dyn Fn(&mut Head), mode| {
        let mut head = Head { identity: with_input(recorded), ..head(HeadStatus::Stopped) };
        change(&mut head);
        start(&StartFacts {
            head: Some(&head),
            identity: &given,
            mode,
            exclusive: false,
            sent: &[],
            restart: false,
            roll_back: None,
        })
    };
    let fresh = Start::Fresh { wait: false };
    let Start::Refused(refusal) = decide(files, &|_| {}, StartMode::Auto) else {
        panic!("it is given up")
    };
    let error = Error::from(refusal);
    assert_eq!(error.kind(), ErrorKind::Usage);
    for part in ["(in: standard input)", "checkpoint 9", "--fresh"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert_eq!(decide(files, &|_| {}, StartMode::Fresh), fresh);
    // Nothing is there, or nothing is asked of it any more.
    assert_eq!(decide(files, &|head| head.checkpoint = CheckpointId::NONE, StartMode::Auto), fresh);
    assert_eq!(decide(files, &|head| head.status = HeadStatus::Finished, StartMode::Auto), fresh);
    // It could not be gone on with before either.
    for recorded in [once, "in: standard input\n", "other: a pipe (once)\n"] {
        assert_eq!(decide(recorded, &|_| {}, StartMode::Auto), fresh, "{recorded}");
    }
}

#[test]
fn a_roll_back_needs_a_retained_checkpoint_and_works_on_finished_runs() {
    let finished = head(HeadStatus::Finished);
    let to = |n| decide(Some(&finished), |f| f.roll_back = Some(CheckpointId(n)));
    assert_eq!(to(9), Start::Resume { wait: false });
    assert!(matches!(to(8), Start::Refused(Refusal::NotRetained(..))));
}

#[test]
fn a_table_of_a_later_layout_is_left_alone() {
    let mut newer = head(HeadStatus::Finished);
    newer.layout = LAYOUT + 1;
    assert_eq!(decide(Some(&newer), |_| {}), Start::Refused(Refusal::Layout(LAYOUT + 1)));
}
